import { buildSync, type Metafile } from 'esbuild';
import { expect, test } from 'vitest';
import { ROOT } from '../support/native.ts';

/** What esbuild puts into a bundle with everything that an entry point exports. */
function bundleOf(entry: string): {
  files: string[];
  rooms: string[];
  imports: Metafile['outputs'][string]['imports'];
} {
  const { metafile } = buildSync({
    stdin: { contents: `export * from './src/${entry}/index.ts';`, resolveDir: ROOT },
    absWorkingDir: ROOT,
    bundle: true,
    format: 'esm',
    platform: 'node',
    external: ['koffi', 'pino', '@2060.io/ffi-napi'],
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  const [output] = Object.values(metafile.outputs);
  const inputs = Object.entries(output!.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  const files = inputs.map(([file]) => file.replace(/^src\//, ''));
  return { files, rooms: [...new Set(files.map(file => file.split('/')[0]!))], imports: output!.imports };
}

const OF_NF_TABLES = ['nf_tables', 'nft', 'nftables', 'iptables'];

test.each(['ipvs', 'nflog', 'netns', 'rtnetlink'])('a bundle of netsteer/%s has nothing of nf_tables', entry => {
  const { rooms } = bundleOf(entry);
  expect(rooms).toContain(entry);
  expect(rooms.filter(room => OF_NF_TABLES.includes(room))).toEqual([]);
});

test("a bundle of netsteer/nftables/kernel has nothing of the language and none of xtables' structures", () => {
  const { files, rooms } = bundleOf('nftables/kernel');
  expect(rooms).toEqual(expect.arrayContaining(['nf_tables', 'nftables']));
  expect(rooms.filter(room => room === 'nft' || room === 'iptables')).toEqual([]);
  expect(files.filter(file => file.startsWith('nf_tables/xt/'))).toEqual([]);
});

test('pino is imported at run time only, and by one place', () => {
  const packages = (entry: string) => bundleOf(entry).imports.filter(({ path }) => !path.startsWith('node:'));
  expect(packages('.')).toEqual([{ path: 'pino', kind: 'dynamic-import', external: true }]);
  expect(packages('ipvs')).toEqual([]);
});
