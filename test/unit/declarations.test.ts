import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPILERS, type Consumer, theConsumer } from '../consumer.ts';

/*
 * The declarations of the packed package, as the compilers of its users read them: each file of declarations is checked, too (`skipLibCheck:
 * false`). `npm test` packs what `npm run build` has made.
 */

const MODULES = [
  { module: 'node16', moduleResolution: 'node16', files: ['program.ts', 'commonjs-node16.cts'] },
  { module: 'node20', moduleResolution: 'node16', files: ['program.ts', 'commonjs.cts'] },
  { module: 'nodenext', moduleResolution: 'nodenext', files: ['program.ts', 'commonjs.cts'] },
  { module: 'esnext', moduleResolution: 'bundler', files: ['program.ts'] },
];
const SURROUNDINGS = [
  ['with @types/node', { types: ['node'] }],
  ['without @types/node', { types: [] }],
  ['without @types/node, the DOM and `using`', { types: [], lib: ['ES2022'] }],
] as const;
const STRICT = { noEmit: true, strict: true, target: 'es2022', skipLibCheck: false, exactOptionalPropertyTypes: true };

let consumer: Consumer;
beforeAll(() => {
  consumer = theConsumer();
  fs.cpSync('test/fixtures/declarations', join(consumer.folder, 'declarations'), { recursive: true });
  fs.cpSync('test/types', join(consumer.folder, 'types'), { recursive: true });
});
afterAll(() => consumer.remove());

/** What a compiler has against files of a folder of the consumer. */
function complaints(compiler: string, folder: string, compilerOptions: object, files: readonly string[]): string {
  const project = join(consumer.folder, folder, `tsconfig-${compiler}.json`);
  fs.writeFileSync(project, JSON.stringify({ compilerOptions: { ...STRICT, ...compilerOptions }, files }));
  const tsc = join(consumer.folder, 'node_modules', compiler, 'bin', 'tsc');
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', project, '--pretty', 'false'], {
    encoding: 'utf8',
  });
  return status === 0 ? '' : `${stdout}${stderr}` || `status ${status}`;
}

describe.each(Object.entries(COMPILERS))('the declarations under %s (%s)', compiler => {
  for (const { files, ...module } of MODULES) {
    // node20 is nodenext as it stands.
    it.each(module.module === 'node20' ? SURROUNDINGS.slice(0, 1) : SURROUNDINGS)(
      `hold with module ${module.module}, resolution ${module.moduleResolution}, %s`,
      (_, options) => {
        expect(complaints(compiler, 'declarations', { ...module, ...options }, files)).toBe('');
      },
    );
  }

  it('say what compiles and what does not', () => {
    const files = fs.readdirSync('test/types');
    expect(files.length).toBeGreaterThan(6);
    const options = { module: 'nodenext', types: [], allowImportingTsExtensions: true, noUncheckedIndexedAccess: true };
    expect(complaints(compiler, 'types', options, files)).toBe('');
  });

  it('are checked: a wrong program is refused', () => {
    fs.writeFileSync(
      join(consumer.folder, 'declarations', 'wrong.ts'),
      "import { ct } from 'netsteer/nftables';\nexport const rule = ct.state.in('establishd');\n",
    );
    const options = { module: 'nodenext', types: [] };
    expect(complaints(compiler, 'declarations', options, ['wrong.ts'])).toContain('wrong.ts(2,');
  });
});
