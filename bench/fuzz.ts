import { parseArgs } from 'node:util';
import { fuzz } from '../test/support/fuzz/run.ts';

/*
 * node build/fuzz.js [--inputs N] [--seed N] [--only TEXT] [--all]: answers of kernels and runtimes, ten million by default. With
 * --all each place that an input breaks a rule at is told once, and the run goes on.
 */
const { values } = parseArgs({
  options: { inputs: { type: 'string' }, seed: { type: 'string' }, only: { type: 'string' }, all: { type: 'boolean' } },
});
const inputs = Number(values.inputs ?? 10_000_000);
const seed = Number(values.seed ?? Date.now() % 0x1_0000_0000);
const told = new Set<string>();
const tell = (error: Error) => {
  const place = error.message.split('\n').find(line => line.includes(' at ')) ?? '';
  if (!told.has(place)) console.error(error.message);
  told.add(place);
  process.exitCode = 1;
};
const { kinds, refused, kept, seconds } = await fuzz({
  inputs,
  seed,
  ...(values.only !== undefined && { only: values.only }),
  ...(values.all && { onFailure: tell }),
});
const each = Object.entries(kinds).map(([kind, count]) => `${count.toLocaleString('en')} ${kind}`);
console.log(
  `seed ${seed}: ${inputs.toLocaleString('en')} inputs in ${seconds.toFixed(1)} s, ${Math.round(inputs / seconds).toLocaleString('en')} a second`,
);
console.log(`${each.join(', ')}; ${refused.toLocaleString('en')} refused, ${kept.toLocaleString('en')} kept`);
