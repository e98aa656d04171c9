import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { BatchError } from 'netsteer';
import { NftSyntaxError } from 'netsteer/nftables';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CORPUS, corpusExists, filesLike, readLines } from '../conformance/corpus.ts';
import { exactLines } from '../conformance/kernel.ts';
import { settled } from '../conformance/load.ts';
import { Place } from '../conformance/place.ts';
import { readingOf, type ScriptCase, ScriptPlaces } from '../conformance/scripts.ts';
import { isLong, isRoot, kernelSuite } from '../support/where.ts';

/* Whole files as people have them, applied by us and by Debian's nft: the kernel has the same bytecode of both, and nft lists the same. */

const OWN = resolve('test/fixtures/configurations');
const DEBIANS = '/usr/share/doc/nftables/examples';
/** They need devices and security marks that there are none of here: nft refuses them, and so do we. */
const REFUSED = ['load_balancing.nft', 'overview.nft', 'sets_and_maps.nft', 'secmark.nft'];

let ours: Place;
let theirs: Place;
if (isRoot) {
  beforeAll(() => {
    ours = new Place();
    theirs = new Place();
  });
  afterAll(async () => {
    await ours.close();
    await theirs.close();
  });
}

const configurationsIn = (folder: string): string[] =>
  existsSync(folder) ? readdirSync(folder).filter(name => name.endsWith('.nft')) : [];

/** The files of a pattern such as './parts/*.nft'. */
function included(folder: string, pattern: string): { name: string; text: string }[] {
  const at = pattern.lastIndexOf('/');
  const [place, name] = [pattern.slice(0, at), pattern.slice(at + 1)];
  const wanted = new RegExp(`^${name.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
  return readdirSync(resolve(folder, place))
    .filter(each => wanted.test(each))
    .sort()
    .map(each => ({ name: `${place}/${each}`, text: readFileSync(resolve(folder, place, each), 'utf8') }));
}

/** What nft has against a file, after it has tried to load it; empty if it has nothing. */
function loadedByNft(folder: string, file: string): string {
  theirs.empty();
  return theirs.netns.run(() => spawnSync('nft', ['-f', file], { encoding: 'utf8', cwd: folder }).stderr);
}

/** What we have against it, in nft's words. */
function appliedByUs(folder: string, file: string): string {
  ours.empty();
  const include = (pattern: string) => included(folder, pattern);
  try {
    ours.nft.sync.apply(readFileSync(join(folder, file), 'utf8'), { source: file, version: '1.0.6', include });
    return '';
  } catch (error) {
    if (error instanceof NftSyntaxError) return error.message;
    if (!(error instanceof BatchError)) throw error;
    return error.failures.map(({ message }) => `${message.slice(message.indexOf('\n') + 1)}\n`).join('');
  }
}

function expectSame(left: Place, right: Place, name: string): void {
  const [is, should] = [left, right].map(place => exactLines(place.ruleset()));
  expect(is, name).toEqual(should);
  expect(settled(left.text()), name).toBe(settled(right.text()));
}

function expectLikeNft(folder: string, file: string): void {
  const refusal = loadedByNft(folder, file);
  expect(appliedByUs(folder, file)).toBe(refusal);
  expectSame(ours, theirs, file);
}

kernelSuite('files of nft', () => {
  it.each(configurationsIn(OWN))('of the usual kinds make what nft makes of them: %s', file => {
    expectLikeNft(OWN, file);
    if (file !== 'flowtable.nft') expect(ours.nft.sync.tables()).not.toEqual([]);
  });

  const examples = configurationsIn(DEBIANS).filter(name => !REFUSED.includes(name));
  it.each(examples.length > 0 ? examples : ['none'])("of Debian's examples make what nft makes of them: %s", file => {
    if (file === 'none') expect(existsSync(DEBIANS)).toBe(false);
    else expectLikeNft(DEBIANS, file);
  });
});

interface Recorded extends ScriptCase {
  readonly refusal?: unknown;
  readonly output?: unknown;
}

const EVERY = isLong ? 1 : 9;

/** Texts that nft 1.0.6 takes otherwise than we do. */
const OTHERWISE = [
  // It looks for a device whose name ends with a star.
  '1.1.6/testcases/chains/dumps/netdev_chain_name_based_hook_0.nft',
  // It counts one element more in a map with a list of keys for one value.
  '1.1.6/testcases/nft-f/dumps/sample-ruleset.nft',
  '1.0.6/testcases/maps/0012map_0#1',
  // It takes a protocol for an address.
  '1.1.6/testcases/bogons/set_with_bad_elem',
  // The hooks of a device: apply does not list them.
  '1.1.6/testcases/chains/netdev_chain_name_based_hook_0#3',
  '1.1.6/testcases/chains/netdev_chain_name_based_hook_0#5',
  '1.1.6/testcases/flowtable/0016name_based_hook_0#3',
  '1.1.6/testcases/flowtable/0016name_based_hook_0#5',
  '1.1.6/testcases/flowtable/0016name_based_hook_0#all',
  // Names of hosts are not looked up.
  '1.0.6/doc/data-types.txt#3.4',
  '1.1.6/doc/data-types.txt#3.4',
  // It makes one comparison of two that are not equal, which matches other packets.
  '1.1.6/py/inet/payloadmerge.t/ip6',
];

describe.skipIf(!isRoot)('texts', () => {
  it("of nft's own tests and manual make what nft makes of them", async () => {
    if (!corpusExists()) {
      console.log(`no recordings at ${CORPUS} (NETSTEER_CORPUS): none are applied`);
      return;
    }
    const places = new ScriptPlaces();
    try {
      const cases = filesLike(/^nft-scripts.*\.jsonl\.gz$/)
        .flatMap(file => readLines<Recorded>(file))
        .filter(
          ({ source, refusal, output }) => /tests|doc/.test(source) && refusal === undefined && output === undefined,
        )
        // Files beside the text, and variables, are tried above.
        .filter(({ files, variables }) => files === undefined && variables === undefined)
        .filter((_, i) => i % EVERY === 0);
      expect(cases.length).toBeGreaterThan(0);
      const differing = cases.filter(one => {
        const [left, right] = [places.prepared(one, 'ours'), places.prepared(one, 'nft')];
        const input = one.text.endsWith('\n') ? one.text : `${one.text}\n`;
        const { stderr } = right.netns.run(() => spawnSync('nft', ['-f', '-'], { encoding: 'utf8', input }));
        expect(stderr, one.name).not.toContain('Error');
        try {
          left.nft.sync.apply(one.text, readingOf(one));
        } catch {
          return true;
        }
        // The elements of named sets are compared by their listing: of a set that is there, nft writes more marks.
        const [is, should] = [left, right].map(place =>
          exactLines(place.ruleset()).filter(line => !/^set (?!.*"anonymous")/.test(line)),
        );
        return is!.join('\n') !== should!.join('\n') || settled(left.text()) !== settled(right.text());
      });
      expect(differing.map(({ name }) => name)).toEqual(
        cases.map(({ name }) => name).filter(name => OTHERWISE.includes(name)),
      );
    } finally {
      await places.close();
    }
  });
});
