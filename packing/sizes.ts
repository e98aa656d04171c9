import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { BUNDLES, type Bundle, PACKED_LIMIT_KILOBYTES } from './limits.ts';

/* `npm run sizes`: what the package weighs, and a program that is bundled with it. Fails above a limit of packing/limits.ts. */

interface Row {
  readonly name: string;
  readonly bytes: number;
  readonly zipped?: number;
  readonly limitKilobytes: number;
}

const manifest = JSON.parse(fs.readFileSync('package.json', 'utf8')) as {
  exports: Record<string, { default: string }>;
};

/** A program that keeps all that the entry points export. */
function bundled({ name, entries, limitKilobytes }: Bundle): Row {
  const lines = entries.map((entry, i) => {
    const file = manifest.exports[entry === '.' ? '.' : `./${entry}`]?.default;
    if (file === undefined) throw new Error(`package.json exports no ${entry}`);
    return entries.length === 1 ? `export * from '${file}';` : `export * as e${i} from '${file}';`;
  });
  const { outputFiles } = buildSync({
    stdin: { contents: lines.join('\n'), resolveDir: '.' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi', 'pino', '@2060.io/ffi-napi'],
    write: false,
    logLevel: 'error',
  });
  const { contents } = outputFiles[0]!;
  return { name, bytes: contents.length, zipped: gzipSync(contents, { level: 9 }).length, limitKilobytes };
}

/** The tarball of `npm pack`. */
function packed(): Row {
  fs.mkdirSync('build', { recursive: true });
  const printed = execFileSync('npm', ['pack', '--silent', '--pack-destination', 'build'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const tarball = path.join('build', printed.trim().split('\n').at(-1)!);
  const { size } = fs.statSync(tarball);
  fs.rmSync(tarball);
  return { name: 'npm pack', bytes: size, limitKilobytes: PACKED_LIMIT_KILOBYTES };
}

const kilobytes = (bytes: number): string => (bytes / 1000).toFixed(1).padStart(8);

const rows = [...BUNDLES.map(bundled), packed()];
console.log('kB              minified     gzip    limit');
for (const { name, bytes, zipped, limitKilobytes } of rows)
  console.log(
    `${name.padEnd(15)} ${kilobytes(bytes)} ${zipped === undefined ? ' '.repeat(8) : kilobytes(zipped)} ${kilobytes(limitKilobytes * 1000)}`,
  );

const above = rows.filter(({ bytes, limitKilobytes }) => bytes > limitKilobytes * 1000);
for (const { name } of above) console.error(`${name} is above its limit (packing/limits.ts)`);
process.exitCode = above.length > 0 ? 1 : 0;
