// Numbers as the rest of the page spells them (harness/records/number_text.py), and round numbers for axes.

const DASH = "–";
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const SUFFIXES = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]];

const given = (value) => value !== null && value !== undefined && Number.isFinite(value);
const significant = (value, digits) => (given(value) ? String(Number(value.toPrecision(digits))) : DASH);

function si(value, digits = 3) {
  if (!given(value)) return DASH;
  const found = SUFFIXES.find(([size]) => Math.abs(value) >= size * (1 - 1e-9));
  return found ? significant(value / found[0], digits) + found[1] : significant(value, digits);
}

function flops(value, digits = 2) {
  if (value === 0) return "0";
  if (!given(value) || value < 0) return DASH;
  const [lead, power] = value.toExponential(digits - 1).split("e");
  const raised = (Number(power) < 0 ? "⁻" : "") + [...String(Math.abs(Number(power)))].map((d) => RAISED[d]).join("");
  return (Number(lead) === 1 ? "" : Number(lead) + "×") + "10" + raised;
}

function decimals(value, digits = 3) {
  if (!given(value)) return DASH;
  const whole = String(Math.trunc(Math.abs(value))).length - 1;
  return value.toFixed(Math.max(digits - whole, 0)).replace("-", "−");
}

const figures = (value) => significant(value, 3);
const share = (value) => (given(value) ? `${figures(100 * value)} %` : DASH);
const times = (value) => (given(value) ? `${figures(value)}×` : DASH);
const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(2);

const between = (low, high, spell) => (given(low) && given(high) ? `[${spell(low)}, ${spell(high)}]` : "");

// Device-hours; less than one in minutes or seconds.
function lasting(seconds) {
  if (seconds >= 3600) return `${si(seconds / 3600)} h`;
  return seconds >= 60 ? `${significant(seconds / 60, 3)} min` : `${significant(seconds, 3)} s`;
}

// Money of whatever currency the price has.
function money(value) {
  if (!given(value)) return DASH;
  return value < 1 ? significant(value, 2) : value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

const percent = (share) => (given(share) ? `${significant(100 * share, 2)} %` : DASH);

// What people type: 3e12, 3×10^12, 250k, 1.5M, 2,000.
function typed(text) {
  const plain = text.trim().replace(/,/g, "").replace(/\s*[×x*]\s*10\s*\^?\s*/, "e").replace("−", "-");
  const found = /^([0-9.]+(?:e[+-]?\d+)?)\s*([kMBGT]?)$/.exec(plain);
  if (!found) return NaN;
  const size = { "": 1, k: 1e3, M: 1e6, B: 1e9, G: 1e9, T: 1e12 }[found[2]];
  return Number(found[1]) * size;
}

// About six round numbers: powers of ten on a long logarithmic axis, else steps of 1, 2 or 5.
function ticks(low, high, log) {
  if (!(high > low)) return [low];
  const found = [];
  if (log && low > 0 && high / low > 8) {
    const decades = Math.log10(high / low);
    const leads = decades > 4 ? [1] : decades > 1.8 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const lead of leads) {
        const value = Number(`${lead}e${power}`);
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  }
  const raw = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((lead) => raw <= lead * power * 1.0001) * power;
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    found.push(Number((k * step).toPrecision(10)));
  }
  return found;
}

// Whole numbers, each but the first the step from the one before, as losses.
function undoneSteps(steps, unit) {
  let sum = 0;
  return steps.map((step) => (sum += step) * unit);
}
