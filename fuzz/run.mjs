// Runs fuzz targets, some at a time, each with the corpus in the tree and its dictionary. What a run finds interesting
// lies in the build folder; `--keep` reduces it into the tree's corpus.
//
//   node fuzz/run.mjs [--build build/fuzz] [--seconds 20 | --minutes N | --inputs N] [--jobs 2] [--seed N] [--keep] [target…]
//
// `--minutes` goes on from target to target, the one that was run least first, until each has had so many minutes of CPU in
// this build folder, over all runs. `--inputs` ends each after so many, so that with a seed a run is the same each time.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = path.dirname(fileURLToPath(import.meta.url));
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    build: { type: "string", default: path.join(here, "../build/fuzz") },
    seconds: { type: "string", default: "60" },
    minutes: { type: "string" },
    inputs: { type: "string" },
    jobs: { type: "string", default: "2" },
    seed: { type: "string", default: "0" },  // 0: another one each time
    keep: { type: "boolean", default: false },
  },
});
const known = fs.readdirSync(here).filter((name) => name.endsWith("_fuzz.cc")).map((name) => name.slice(0, -8)).sort();
for (const name of positionals) {
  if (!known.includes(name)) {
    console.error(`no target is named ${name}; there are ${known.join(", ")}`);
    process.exit(2);
  }
}
const folder = (...parts) => {
  const made = path.join(flags.build, ...parts);
  fs.mkdirSync(made, { recursive: true });
  return made;
};
// The CPU time of each target, over all runs in this build folder.
const minutes_file = path.join(folder(), "fuzz_cpu.json");
const cpu = fs.existsSync(minutes_file) ? JSON.parse(fs.readFileSync(minutes_file)) : {};

// Runs a program to its end; its output, exit code, and CPU seconds, which bash's `times` tells.
function measure(program, args) {
  return new Promise((resolve) => {
    const child = spawn("bash", ["-c", '"$@"; code=$?; times; exit $code', "bash", program, ...args]);
    let text = "";
    child.stdout.on("data", (data) => (text += data));
    child.stderr.on("data", (data) => (text += data));
    child.on("close", (code) => {
      const used = text.trimEnd().split("\n").at(-1);
      const seconds = [...used.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, m, s]) => sum + m * 60 + Number(s), 0);
      resolve({ text, code, seconds });
    });
  });
}

function programOf(target) {
  return path.join(flags.build, "fuzz", `${target}_fuzz`);
}

async function run(target) {
  const end = flags.inputs === undefined ? `-max_total_time=${flags.seconds}` : `-runs=${flags.inputs}`;
  const args = [`-seed=${flags.seed}`, end, "-timeout=25", "-rss_limit_mb=2048", "-print_final_stats=1",
    `-artifact_prefix=${folder("found")}/${target}-`];
  const dictionary = path.join(here, "dict", `${target}.dict`);
  if (fs.existsSync(dictionary)) args.push(`-dict=${dictionary}`);
  args.push(folder("corpus", target));
  const kept = path.join(here, "corpus", target);
  if (fs.existsSync(kept)) args.push(kept);
  const { text, code, seconds } = await measure(programOf(target), args);
  cpu[target] = (cpu[target] ?? 0) + seconds;
  fs.writeFileSync(minutes_file, JSON.stringify(cpu, null, 1));
  const runs = text.match(/number_of_executed_units: (\d+)/)?.[1] ?? "?";
  const coverage = [...text.matchAll(/cov: (\d+)/g)].at(-1)?.[1] ?? "?";
  console.log(`${code === 0 ? "ok    " : "FAILED"} ${target.padEnd(18)} ${String(runs).padStart(9)} inputs, ` +
    `${seconds.toFixed(1)} s of CPU (${(cpu[target] / 60).toFixed(1)} min so far), coverage ${coverage}`);
  if (code !== 0) console.log(text.split("\n").slice(-60).join("\n"));
  return code === 0;
}

// A small set of short inputs that reach most of what all of them reach. What has a name of its own once failed, and stays.
async function keep(target) {
  const kept = path.join(here, "corpus", target);
  const merged = `${folder()}/merged-${target}`;
  fs.rmSync(merged, { recursive: true, force: true });
  fs.mkdirSync(merged);
  fs.mkdirSync(kept, { recursive: true });
  const { code, text } = await measure(programOf(target), ["-set_cover_merge=1", "-max_len=400", merged, kept, folder("corpus", target)]);
  if (code !== 0) return console.log(text), false;
  for (const name of fs.readdirSync(kept)) if (/^[0-9a-f]{40}$/.test(name)) fs.rmSync(path.join(kept, name));
  // From short to long, every so many-th of them.
  const sizes = fs.readdirSync(merged).map((name) => [name, fs.statSync(path.join(merged, name)).size]);
  sizes.sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1));
  const stride = Math.max(1, sizes.length / 64);
  for (let i = 0; i < sizes.length; i += stride) {
    const [name] = sizes[Math.floor(i)];
    if (/^[0-9a-f]{40}$/.test(name)) fs.copyFileSync(path.join(merged, name), path.join(kept, name));
  }
  console.log(`${target}: ${fs.readdirSync(kept).length} inputs kept`);
  return true;
}

const waiting = positionals.length > 0 ? [...positionals] : [...known];
let failed = false;

// The next target that is to be run, and no more of it than once at a time: two would miss what the other finds.
function next() {
  if (flags.minutes === undefined || flags.keep) return waiting.shift();
  const spent = (target) => cpu[target] ?? 0;
  waiting.sort((a, b) => spent(a) - spent(b));
  return waiting.length > 0 && spent(waiting[0]) < 60 * flags.minutes ? waiting.shift() : undefined;
}

await Promise.all(Array.from({ length: Number(flags.jobs) }, async () => {
  for (let target; (target = next()); ) {
    const good = await (flags.keep ? keep(target) : run(target));
    failed ||= !good;
    if (good && flags.minutes !== undefined && !flags.keep) waiting.push(target);
  }
}));
process.exit(failed ? 1 : 0);
