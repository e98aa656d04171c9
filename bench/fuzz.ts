import { parseArgs } from 'node:util';
import { FIXTURES, fuzz } from '../test/support/fuzz/run.ts';

/*
 * node build/fuzz.js [--inputs N] [--seconds N] [--seed N] [--only TEXT] [--all]: answers of kernels and runtimes, ten million by default, or
 * as many as the seconds allow (NETSTEER_FUZZ_SECONDS). Each run has a seed of its own, which it tells first. An input that breaks a rule is
 * kept in test/fixtures/fuzz, where `npm test` tries it from then on. With --all each place that an input breaks a rule at is told once, and the run goes on.
 */
const { values } = parseArgs({
  options: {
    inputs: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string' },
    all: { type: 'boolean' },
  },
});
const seconds = values.seconds ?? process.env.NETSTEER_FUZZ_SECONDS;
const limit = values.inputs ?? (seconds === undefined ? 10_000_000 : undefined);
const seed = Number(values.seed ?? Date.now() % 0x1_0000_0000);
console.log(`seed ${seed}`);
const told = new Set<string>();
const tell = (error: Error) => {
  const place = error.message.split('\n').find(line => line.includes(' at ')) ?? '';
  if (!told.has(place)) console.error(error.message);
  told.add(place);
  process.exitCode = 1;
};
const {
  inputs,
  kinds,
  refused,
  kept,
  seconds: took,
} = await fuzz({
  ...(limit !== undefined && { inputs: Number(limit) }),
  ...(seconds !== undefined && { seconds: Number(seconds) }),
  keepIn: FIXTURES,
  seed,
  ...(values.only !== undefined && { only: values.only }),
  ...(values.all && { onFailure: tell }),
});
const each = Object.entries(kinds).map(([kind, count]) => `${count.toLocaleString('en')} ${kind}`);
console.log(
  `seed ${seed}: ${inputs.toLocaleString('en')} inputs in ${took.toFixed(1)} s, ${Math.round(inputs / took).toLocaleString('en')} a second`,
);
console.log(`${each.join(', ')}; ${refused.toLocaleString('en')} refused, ${kept.toLocaleString('en')} kept`);
