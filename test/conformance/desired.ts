import { compileElements } from '../../src/nft/compile/named-set.ts';
import { Names } from '../../src/nft/names.ts';
import { compileDocument } from '../../src/nftables/commands.ts';
import type { DesiredRuleset, NftDocument } from '../../src/nftables/index.ts';

type Fields = Record<string, unknown>;

const names = new Names();

/** What a document of nft's JSON describes, as it is wanted: rules in statements, elements in the kernel's form. */
export function desiredOf(document: NftDocument): DesiredRuleset {
  const lists: Record<string, Fields[]> = { tables: [], chains: [], sets: [], rules: [], objects: [], flowtables: [] };
  for (const { kind, subject } of compileDocument(document).transaction.operations) {
    const object = (subject as Record<string, Fields>)[kind]!;
    if (kind === 'element') addElements(lists.sets!, object);
    else if (kind === 'set' || kind === 'map') lists.sets!.push(object);
    else if (Object.hasOwn(lists, `${kind}s`)) lists[`${kind}s`]!.push(object);
    else lists.objects!.push(wireObject(kind, object));
  }
  return lists as unknown as DesiredRuleset;
}

function addElements(sets: Fields[], { family, table, set: name, json, leadingEnd }: Fields): void {
  const set = sets.find(each => each.family === family && each.table === table && each.name === name)!;
  const wire = compileElements(set as never, json as never, { names, leadingEnd: leadingEnd === true });
  set.elements = wire.map(element => ({ wire: element }));
}

const KINDS: Readonly<Record<string, string>> = {
  ctHelper: 'ct-helper',
  ctTimeout: 'ct-timeout',
  ctExpectation: 'ct-expectation',
};

/** A counter, quota and the like as objects are wanted: with its type, and its fields in `data`. */
function wireObject(kind: string, { family, table, name, comment, ...data }: Fields): Fields {
  const type = KINDS[kind] ?? kind;
  return { family, table, name, type, ...(comment !== undefined && { comment }), data };
}
