/*
 * npm run constants               writes src/linux
 * npm run constants -- --check    fails where src/linux is not what the headers say
 */
import fs from 'node:fs';
import path from 'node:path';
import { differences, generate, TARGET } from './generate.ts';
import { fetchNewest, newestHere } from './newer-headers.ts';
import { obstacle } from './probe.ts';

const check = process.argv.includes('--check');
const reason = obstacle();
if (reason !== undefined) {
  console.error(reason);
  process.exit(2);
}
try {
  fetchNewest();
} catch (error) {
  console.error(`no newer headers could be fetched: ${error instanceof Error ? error.message : error}`);
}
const newer = newestHere();
const generated = generate(newer);
const changed = differences(generated);
if (!check) {
  fs.rmSync(TARGET, { recursive: true, force: true });
  fs.mkdirSync(TARGET, { recursive: true });
  for (const [file, text] of generated.files) fs.writeFileSync(path.join(TARGET, file), text);
}
const { kernel, count, files, unchecked } = generated;
console.log(
  `${count} constants in ${files.size} files, from the headers of Linux ${[kernel, newer?.kernel].filter(Boolean).join(' and ')}`,
);
for (const name of unchecked) console.log(`in no headers here, taken over as it was: ${name}`);
for (const file of changed) console.log(`${check ? 'is not what the headers say' : 'written'}: src/linux/${file}`);
if (check && changed.length > 0) process.exitCode = 1;
