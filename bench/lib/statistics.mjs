export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * share)];
}
export const median = (numbers) => quantile(numbers, 0.5);

// Three digits that count.
export function short(value) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 3));
}

export function markdown(head, rows) {
  return [`| ${head.join(' | ')} |`, `|${'---|'.repeat(head.length)}`, ...rows.map((row) => `| ${row.join(' | ')} |`)].join('\n');
}

// Calls measure(name) for each name in rounds, each of which begins with another name, so that whatever else the machine
// does meets all of them alike. The first round warms up. Resolves with { name: [figure of each round] }.
export async function interleave(names, rounds, measure) {
  const figures = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {
    for (let i = 0; i < names.length; i += 1) {
      const name = names[(i + round + 1) % names.length];
      const figure = await measure(name);
      if (round >= 0) figures[name].push(figure);
    }
  }
  return figures;
}

// The median over the rounds of the figure of `name` divided by the best of `others` in the same round.
export function ratioToBest(figures, name, others) {
  return median(figures[name].map((value, round) => value / Math.min(...others.map((other) => figures[other][round]))));
}
