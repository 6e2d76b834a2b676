// Makes a source file of the C++ in a page: node page.mjs PAGE.md OUT.cc
// Each block is a namespace of its own, and what all of them include stands in front.
import { readFileSync, writeFileSync } from 'node:fs';

const [, , page, out] = process.argv;
const text = readFileSync(page, 'utf8');
const includes = new Set();
const parts = [];
for (const block of text.matchAll(/^```cpp\n(.*?)^```$/gms)) {
  const line = text.slice(0, block.index).split('\n').length + 1;
  const code = block[1].replace(/^#include .*$/gm, (include) => {
    includes.add(include);
    return '';
  });
  parts.push(`namespace at_line_${line} {\n#line ${line} "${page}"\n${code}}  // namespace at_line_${line}\n`);
}
if (parts.length === 0) throw new Error(`${page} has no C++`);
writeFileSync(out, `${[...includes].join('\n')}\n\n${parts.join('\n')}`);
