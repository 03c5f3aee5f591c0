// A box that shows its table or figure whole needs no stop of the Tab key; one that scrolls sideways does.

const boxes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".scroll, .plot")) boxes.observe(box);
});
