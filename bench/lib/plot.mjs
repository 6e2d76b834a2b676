// A plot of lines as SVG, on logarithmic axes where told so. Points are { x, y }; nothing outside this file draws.
const colours = { plait: '#c2410c', 'plait, epoll': '#f59e0b', HAProxy: '#2563eb', 'HAProxy, tuned': '#60a5fa', nghttpx: '#15803d', nginx: '#7c3aed' };
const [width, height, left, right, top, bottom] = [760, 440, 70, 170, 44, 56];

const escape = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

// A scale from values to positions, with the values that are labelled. A logarithmic one has room for a zero before its
// smallest value.
function scale(values, from, to, isLog, label) {
  if (!isLog) {
    const most = Math.max(...values, 1e-9);
    const step = 10 ** Math.floor(Math.log10(most)) * ([0.2, 0.5, 1, 2].find((share) => most / (10 ** Math.floor(Math.log10(most)) * share) <= 6) ?? 2);
    const end = Math.ceil(most / step) * step;
    const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, i) => i * step);
    return { at: (value) => from + (to - from) * value / end, ticks: ticks.map((value) => ({ value, text: label(Number(value.toPrecision(6))) })) };
  }
  const positive = values.filter((value) => value > 0);
  const hasZero = positive.length < values.length;
  const low = Math.log10(Math.min(...positive));
  const high = Math.max(Math.log10(Math.max(...positive)), low + 0.3);
  const start = hasZero ? from + (to - from) * 0.08 : from;
  const at = (value) => (value > 0 ? start + (to - start) * (Math.log10(value) - low) / (high - low) : from);
  const shown = [];
  for (const value of [...new Set(values)].sort((a, b) => a - b)) {
    if (shown.length === 0 || Math.abs(at(value) - at(shown.at(-1))) > 34) shown.push(value);
  }
  return { at, ticks: shown.map((value) => ({ value, text: label(value) })) };
}

// Powers of ten, and two and five times them, that lie within the values.
function decades(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const out = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) out.push(factor * 10 ** power);
  }
  const first = out.findLastIndex((value) => value <= low);
  const last = out.findIndex((value) => value >= high);
  return out.slice(Math.max(first, 0), last < 0 ? undefined : last + 1);
}

// series: { name: [{ x, y }] }.
export function plot({ title, xTitle, yTitle, series, logX = true, logY = false, xLabel = String }) {
  const points = Object.values(series).flat();
  const x = scale(points.map((point) => point.x), left, width - right, logX, xLabel);
  const y = scale(logY ? decades(points.map((point) => point.y)) : points.map((point) => point.y), height - bottom, top, logY, String);
  const out = [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="${escape(title)}">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`, `<text x="${left}" y="24" font-size="15" font-weight="600">${escape(title)}</text>`];
  for (const tick of y.ticks) {
    const at = y.at(tick.value).toFixed(1);
    out.push(`<line x1="${left}" x2="${width - right}" y1="${at}" y2="${at}" stroke="#e5e7eb"/>`,
      `<text x="${left - 8}" y="${at}" dy="0.35em" text-anchor="end" fill="#374151">${tick.text}</text>`);
  }
  for (const tick of x.ticks) {
    const at = x.at(tick.value).toFixed(1);
    out.push(`<line x1="${at}" x2="${at}" y1="${height - bottom}" y2="${height - bottom + 5}" stroke="#6b7280"/>`,
      `<text x="${at}" y="${height - bottom + 19}" text-anchor="middle" fill="#374151">${escape(tick.text)}</text>`);
  }
  out.push(`<text x="${(left + width - right) / 2}" y="${height - 12}" text-anchor="middle">${escape(xTitle)}</text>`,
    `<text transform="translate(18 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">${escape(yTitle)}</text>`);
  // Names stand at the ends of their lines, moved apart where they would overlap.
  const ends = Object.entries(series).filter(([, line]) => line.length > 0).map(([name, line]) => ({ name, x: x.at(line.at(-1).x), y: y.at(line.at(-1).y) })).sort((a, b) => a.y - b.y);
  for (let i = 1; i < ends.length; i += 1) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 14);
  const overflow = ends.length > 0 ? Math.max(0, ends.at(-1).y - (height - bottom)) : 0;
  for (const end of ends) end.y -= overflow;
  for (const [name, line] of Object.entries(series)) {
    const colour = colours[name] ?? '#111827';
    const path = line.map((point, i) => `${i === 0 ? 'M' : 'L'}${x.at(point.x).toFixed(1)} ${y.at(point.y).toFixed(1)}`).join('');
    out.push(`<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const point of line) out.push(`<circle cx="${x.at(point.x).toFixed(1)}" cy="${y.at(point.y).toFixed(1)}" r="3" fill="${colour}"/>`);
  }
  for (const end of ends) out.push(`<text x="${width - right + 10}" y="${end.y.toFixed(1)}" dy="0.35em" fill="${colours[end.name] ?? '#111827'}">${escape(end.name)}</text>`);
  out.push('</svg>');
  return `${out.join('\n')}\n`;
}
