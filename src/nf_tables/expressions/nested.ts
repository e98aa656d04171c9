import {
  type AttributeTable,
  attribute,
  attributes,
  flags,
  listOf,
  named,
  opt,
  string,
  type Type,
  U32_BE,
  type UnknownAttribute,
  u32be,
  u64be,
} from '../../codec/index.ts';
import * as C from '../../linux/nf_tables.ts';
import { byDefault, derived, type Fields, type TableFacets } from '../facets.ts';

/* Expressions that hold expressions, given the type of what they hold. TypeScript cannot infer a type from itself. */

/** Adds the register's content to a set as a key, or removes it. */
export interface DynamicSet<E> {
  /** The name of the set. */
  set: string;
  /** The set by the number that it has within its own transaction. */
  setId?: number;
  /** 'add', 'update' (which begins the lifetime anew) or 'delete'. */
  op: 'add' | 'update' | 'delete' | number;
  /** The register that has the key. */
  keyRegister: number;
  /** Of a map: the register with the value. */
  dataRegister?: number;
  /** Of the new element; the set's own where left out. */
  timeoutMilliseconds?: bigint;
  /** One expression for each new element. The kernel repeats the first of `expressions` here. */
  expression?: E;
  /** invert: goes on if it could not be done. expressions: the element has some. */
  flags?: ('invert' | 'expressions' | number)[];
  /** The states that each new element gets. */
  expressions?: E[];
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

const DYNSET: TableFacets = {
  /** One expression or a list with one are the same. */
  canonical(fields) {
    const { expression, expressions } = fields;
    if (expression !== undefined && !(Array.isArray(expressions) && expressions.length > 0))
      fields.expressions = [expression];
    delete fields.expression;
  },
  accepted(fields) {
    // No timeout of its own; a set without timeouts takes not even that.
    const { timeoutMilliseconds, ...others } = fields;
    const rest: Fields = timeoutMilliseconds === 0n ? others : { ...fields };
    if (Array.isArray(rest.expressions)) {
      // The kernel wants to be told that there are some, and does not tell.
      const given = (rest.flags ?? []) as string[];
      if (!given.includes('expressions')) rest.flags = [...given, 'expressions'];
    }
    return rest;
  },
};

/** Runs an expression on the packet that a tunnel carries. */
export interface Inner<E> {
  /** 0; the kernel knows one packet inside another. */
  number: number;
  /** The kind of tunnel. */
  type: 'vxlan' | 'geneve' | 'gre' | 'gretap' | number;
  /** Which headers are looked for: the tunnel's own (header-size), and those of the packet inside. */
  flags: ('header-size' | 'link' | 'network' | 'transport' | number)[];
  /** Bytes of the tunnel's own header. */
  headerSize: number;
  /** The expression that is run on the inner packet. */
  expression: E;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

export interface NestedTables<E> {
  readonly dynset: AttributeTable<DynamicSet<E>>;
  readonly inner: AttributeTable<Inner<E>>;
}

/** The tables, given the table of what they hold. */
export function nestedTables<E>(expression: Type<E>): NestedTables<E> {
  const dynset = attributes(
    'NFTA_DYNSET',
    () => ({
      set: string(C.NFTA_DYNSET_SET_NAME, 255),
      setId: opt(u32be(C.NFTA_DYNSET_SET_ID)),
      op: attribute(
        C.NFTA_DYNSET_OP,
        named(U32_BE, {
          add: C.NFT_DYNSET_OP_ADD,
          update: C.NFT_DYNSET_OP_UPDATE,
          delete: C.NFT_DYNSET_OP_DELETE,
        }),
      ),
      keyRegister: u32be(C.NFTA_DYNSET_SREG_KEY),
      dataRegister: opt(u32be(C.NFTA_DYNSET_SREG_DATA)),
      timeoutMilliseconds: byDefault(opt(u64be(C.NFTA_DYNSET_TIMEOUT)), 0n),
      expression: opt(attribute(C.NFTA_DYNSET_EXPR, expression)),
      flags: derived(
        opt(
          attribute(
            C.NFTA_DYNSET_FLAGS,
            flags(U32_BE, { invert: C.NFT_DYNSET_F_INV, expressions: C.NFT_DYNSET_F_EXPR }),
          ),
        ),
        'expressions',
      ),
      expressions: opt(attribute(C.NFTA_DYNSET_EXPRESSIONS, listOf(C.NFTA_LIST_ELEM, expression))),
    }),
    { facets: DYNSET },
  );

  const inner = attributes('NFTA_INNER', () => ({
    number: u32be(C.NFTA_INNER_NUM),
    type: attribute(
      C.NFTA_INNER_TYPE,
      // The last two are nft's own numbers: the kernel only has to tell Geneve, whose header's length varies, from the rest.
      named(U32_BE, { vxlan: C.NFT_INNER_VXLAN, geneve: C.NFT_INNER_GENEVE, gre: 3, gretap: 4 }),
    ),
    flags: attribute(
      C.NFTA_INNER_FLAGS,
      flags(U32_BE, {
        'header-size': C.NFT_INNER_HDRSIZE,
        link: C.NFT_INNER_LL,
        network: C.NFT_INNER_NH,
        transport: C.NFT_INNER_TH,
      }),
    ),
    headerSize: u32be(C.NFTA_INNER_HDRSIZE),
    expression: attribute(C.NFTA_INNER_EXPR, expression),
  }));

  return { dynset, inner };
}
