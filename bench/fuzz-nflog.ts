import { parseArgs } from 'node:util';
import { fuzzNflog } from '../test/support/nflog-fuzz.ts';

/* node build/fuzz-nflog.js [--inputs N] [--seed N]: ten million inputs by default, and as many a second as there is time for. */
const { values } = parseArgs({ options: { inputs: { type: 'string' }, seed: { type: 'string' } } });
const inputs = Number(values.inputs ?? 10_000_000);
const seed = Number(values.seed ?? Date.now() % 0x1_0000_0000);
const begin = performance.now();
const { kinds, refused, slowestMilliseconds } = fuzzNflog({ inputs, seed });
const seconds = (performance.now() - begin) / 1000;
const each = Object.entries(kinds).map(([kind, count]) => `${count.toLocaleString('en')} ${kind}s`);
console.log(
  `seed ${seed}: ${inputs.toLocaleString('en')} inputs in ${seconds.toFixed(1)} s, ${Math.round(inputs / seconds).toLocaleString('en')} a second`,
);
console.log(
  `${each.join(', ')}; ${refused.toLocaleString('en')} refused; the slowest took ${slowestMilliseconds.toFixed(1)} ms`,
);
