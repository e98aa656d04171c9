import * as Nft from '../../linux/nf_tables.ts';
import { isSince, type Release } from '../machine/state.ts';
import type { Policy, AttributeRule as Rule } from './policy.ts';

/* The policies of nf_tables. The kernel's stand in nf_tables_api.c and in the file of each expression. */

const U8: Rule = { kind: 'number', length: 1 };
const U16: Rule = { kind: 'number', length: 2 };
const U32: Rule = { kind: 'number', length: 4 };
const U64: Rule = { kind: 'number', length: 8 };
const NESTED: Rule = { kind: 'nested', length: 0 };
const BINARY: Rule = { kind: 'binary', length: 0 };
const BYTE: Rule = { kind: 'be32', length: 4, most: 255 };
const WORD: Rule = { kind: 'be32', length: 4, most: 65_535 };
const masked = (mask: number): Rule => ({ kind: 'be32', length: 4, mask });
const string = (length: number): Rule => ({ kind: 'string', length });
const array = (entries: Policy): Rule => ({ kind: 'array', length: 0, entries });

/** NFT_TABLE_MAXNAMELEN and the like, without the NUL. */
const NAME = string(255);
/** NFT_USERDATA_MAXLEN */
const USERDATA: Rule = { kind: 'binary', length: 256 };
/** NFT_MODULE_AUTOLOAD_LIMIT */
const MODULE = string(42);
const DEVICE = string(15);
const NAT_FLAGS = masked(0x7f);

export const TABLE: Policy = {
  [Nft.NFTA_TABLE_NAME]: NAME,
  [Nft.NFTA_TABLE_FLAGS]: U32,
  [Nft.NFTA_TABLE_HANDLE]: U64,
  [Nft.NFTA_TABLE_USERDATA]: USERDATA,
};
const CHAIN: Policy = {
  [Nft.NFTA_CHAIN_TABLE]: NAME,
  [Nft.NFTA_CHAIN_HANDLE]: U64,
  [Nft.NFTA_CHAIN_NAME]: NAME,
  [Nft.NFTA_CHAIN_HOOK]: NESTED,
  [Nft.NFTA_CHAIN_POLICY]: U32,
  [Nft.NFTA_CHAIN_TYPE]: MODULE,
  [Nft.NFTA_CHAIN_COUNTERS]: NESTED,
  [Nft.NFTA_CHAIN_FLAGS]: U32,
  [Nft.NFTA_CHAIN_ID]: U32,
  [Nft.NFTA_CHAIN_USERDATA]: USERDATA,
};
export const HOOK: Policy = {
  [Nft.NFTA_HOOK_HOOKNUM]: U32,
  [Nft.NFTA_HOOK_PRIORITY]: U32,
  [Nft.NFTA_HOOK_DEV]: DEVICE,
  [Nft.NFTA_HOOK_DEVS]: NESTED,
};
export const COUNTERS: Policy = { [Nft.NFTA_COUNTER_PACKETS]: U64, [Nft.NFTA_COUNTER_BYTES]: U64 };
export const EXPRESSION: Policy = { [Nft.NFTA_EXPR_NAME]: MODULE, [Nft.NFTA_EXPR_DATA]: NESTED };
const RULE: Policy = {
  [Nft.NFTA_RULE_TABLE]: NAME,
  [Nft.NFTA_RULE_CHAIN]: NAME,
  [Nft.NFTA_RULE_HANDLE]: U64,
  [Nft.NFTA_RULE_EXPRESSIONS]: array(EXPRESSION),
  [Nft.NFTA_RULE_COMPAT]: NESTED,
  [Nft.NFTA_RULE_POSITION]: U64,
  [Nft.NFTA_RULE_USERDATA]: USERDATA,
  [Nft.NFTA_RULE_ID]: U32,
  [Nft.NFTA_RULE_POSITION_ID]: U32,
  [Nft.NFTA_RULE_CHAIN_ID]: U32,
};
const SET: Policy = {
  [Nft.NFTA_SET_TABLE]: NAME,
  [Nft.NFTA_SET_NAME]: NAME,
  [Nft.NFTA_SET_FLAGS]: U32,
  [Nft.NFTA_SET_KEY_TYPE]: U32,
  [Nft.NFTA_SET_KEY_LEN]: U32,
  [Nft.NFTA_SET_DATA_TYPE]: U32,
  [Nft.NFTA_SET_DATA_LEN]: U32,
  [Nft.NFTA_SET_POLICY]: U32,
  [Nft.NFTA_SET_DESC]: NESTED,
  [Nft.NFTA_SET_ID]: U32,
  [Nft.NFTA_SET_TIMEOUT]: U64,
  [Nft.NFTA_SET_GC_INTERVAL]: U32,
  [Nft.NFTA_SET_USERDATA]: USERDATA,
  [Nft.NFTA_SET_OBJ_TYPE]: U32,
  [Nft.NFTA_SET_HANDLE]: U64,
  [Nft.NFTA_SET_EXPR]: NESTED,
  [Nft.NFTA_SET_EXPRESSIONS]: array(EXPRESSION),
};
/** What the kernel tells of sets, programs may not say. */
const SET_TOLD: Policy = {
  ...SET,
  [Nft.NFTA_SET_TYPE]: { kind: 'reject', length: 0 },
  [Nft.NFTA_SET_COUNT]: { kind: 'reject', length: 0 },
};
const TOLD = [6, 17] as const;

const FIELD: Policy = { [Nft.NFTA_SET_FIELD_LEN]: U32 };
export const DESCRIPTION: Policy = { [Nft.NFTA_SET_DESC_SIZE]: U32, [Nft.NFTA_SET_DESC_CONCAT]: array(FIELD) };
export const ELEMENT: Policy = {
  [Nft.NFTA_SET_ELEM_KEY]: NESTED,
  [Nft.NFTA_SET_ELEM_DATA]: NESTED,
  [Nft.NFTA_SET_ELEM_FLAGS]: U32,
  [Nft.NFTA_SET_ELEM_TIMEOUT]: U64,
  [Nft.NFTA_SET_ELEM_EXPIRATION]: U64,
  [Nft.NFTA_SET_ELEM_USERDATA]: USERDATA,
  [Nft.NFTA_SET_ELEM_EXPR]: NESTED,
  [Nft.NFTA_SET_ELEM_OBJREF]: NAME,
  [Nft.NFTA_SET_ELEM_KEY_END]: NESTED,
  [Nft.NFTA_SET_ELEM_EXPRESSIONS]: array(EXPRESSION),
};
const ELEMENTS: Policy = {
  [Nft.NFTA_SET_ELEM_LIST_TABLE]: NAME,
  [Nft.NFTA_SET_ELEM_LIST_SET]: NAME,
  [Nft.NFTA_SET_ELEM_LIST_ELEMENTS]: array(ELEMENT),
  [Nft.NFTA_SET_ELEM_LIST_SET_ID]: U32,
};
const OBJECT: Policy = {
  [Nft.NFTA_OBJ_TABLE]: NAME,
  [Nft.NFTA_OBJ_NAME]: NAME,
  [Nft.NFTA_OBJ_TYPE]: U32,
  [Nft.NFTA_OBJ_DATA]: NESTED,
  [Nft.NFTA_OBJ_HANDLE]: U64,
  [Nft.NFTA_OBJ_USERDATA]: USERDATA,
};
const FLOWTABLE: Policy = {
  [Nft.NFTA_FLOWTABLE_TABLE]: NAME,
  [Nft.NFTA_FLOWTABLE_NAME]: NAME,
  [Nft.NFTA_FLOWTABLE_HOOK]: NESTED,
  [Nft.NFTA_FLOWTABLE_HANDLE]: U64,
  [Nft.NFTA_FLOWTABLE_FLAGS]: U32,
};
export const FLOWTABLE_HOOK: Policy = {
  [Nft.NFTA_FLOWTABLE_HOOK_NUM]: U32,
  [Nft.NFTA_FLOWTABLE_HOOK_PRIORITY]: U32,
  [Nft.NFTA_FLOWTABLE_HOOK_DEVS]: NESTED,
};
export const VERDICT: Policy = {
  [Nft.NFTA_VERDICT_CODE]: U32,
  [Nft.NFTA_VERDICT_CHAIN]: NAME,
  [Nft.NFTA_VERDICT_CHAIN_ID]: U32,
};
export const DATA: Policy = { [Nft.NFTA_DATA_VALUE]: BINARY, [Nft.NFTA_DATA_VERDICT]: NESTED };

/** Of the messages of a kind. */
export function policyOf(kind: number, release: Release): Policy | undefined {
  const policy = MESSAGES[kind];
  return policy === SET && isSince(release, TOLD) ? SET_TOLD : policy;
}

const MESSAGES: Readonly<Record<number, Policy>> = {
  [Nft.NFT_MSG_NEWTABLE]: TABLE,
  [Nft.NFT_MSG_GETTABLE]: TABLE,
  [Nft.NFT_MSG_DELTABLE]: TABLE,
  [Nft.NFT_MSG_DESTROYTABLE]: TABLE,
  [Nft.NFT_MSG_NEWCHAIN]: CHAIN,
  [Nft.NFT_MSG_GETCHAIN]: CHAIN,
  [Nft.NFT_MSG_DELCHAIN]: CHAIN,
  [Nft.NFT_MSG_DESTROYCHAIN]: CHAIN,
  [Nft.NFT_MSG_NEWRULE]: RULE,
  [Nft.NFT_MSG_GETRULE]: RULE,
  [Nft.NFT_MSG_GETRULE_RESET]: RULE,
  [Nft.NFT_MSG_DELRULE]: RULE,
  [Nft.NFT_MSG_DESTROYRULE]: RULE,
  [Nft.NFT_MSG_NEWSET]: SET,
  [Nft.NFT_MSG_GETSET]: SET,
  [Nft.NFT_MSG_DELSET]: SET,
  [Nft.NFT_MSG_DESTROYSET]: SET,
  [Nft.NFT_MSG_NEWSETELEM]: ELEMENTS,
  [Nft.NFT_MSG_GETSETELEM]: ELEMENTS,
  [Nft.NFT_MSG_GETSETELEM_RESET]: ELEMENTS,
  [Nft.NFT_MSG_DELSETELEM]: ELEMENTS,
  [Nft.NFT_MSG_DESTROYSETELEM]: ELEMENTS,
  [Nft.NFT_MSG_NEWOBJ]: OBJECT,
  [Nft.NFT_MSG_GETOBJ]: OBJECT,
  [Nft.NFT_MSG_GETOBJ_RESET]: OBJECT,
  [Nft.NFT_MSG_DELOBJ]: OBJECT,
  [Nft.NFT_MSG_DESTROYOBJ]: OBJECT,
  [Nft.NFT_MSG_NEWFLOWTABLE]: FLOWTABLE,
  [Nft.NFT_MSG_GETFLOWTABLE]: FLOWTABLE,
  [Nft.NFT_MSG_DELFLOWTABLE]: FLOWTABLE,
  [Nft.NFT_MSG_DESTROYFLOWTABLE]: FLOWTABLE,
};

const COUNTER: Policy = COUNTERS;
const EXTENSION: Policy = { 1: { kind: 'nul-string', length: 28 }, 2: BYTE, 3: BINARY };
const SYNPROXY: Policy = {
  [Nft.NFTA_SYNPROXY_MSS]: U16,
  [Nft.NFTA_SYNPROXY_WSCALE]: U8,
  [Nft.NFTA_SYNPROXY_FLAGS]: U32,
};
const QUOTA: Policy = { [Nft.NFTA_QUOTA_BYTES]: U64, [Nft.NFTA_QUOTA_FLAGS]: U32, [Nft.NFTA_QUOTA_CONSUMED]: U64 };
const LIMIT: Policy = {
  [Nft.NFTA_LIMIT_RATE]: U64,
  [Nft.NFTA_LIMIT_UNIT]: U64,
  [Nft.NFTA_LIMIT_BURST]: U32,
  [Nft.NFTA_LIMIT_TYPE]: U32,
  [Nft.NFTA_LIMIT_FLAGS]: U32,
};
const CONNLIMIT: Policy = { [Nft.NFTA_CONNLIMIT_COUNT]: U32, [Nft.NFTA_CONNLIMIT_FLAGS]: U32 };

/** Of the data of expressions, by their name. */
export const EXPRESSION_DATA: Readonly<Record<string, Policy>> = {
  immediate: { [Nft.NFTA_IMMEDIATE_DREG]: U32, [Nft.NFTA_IMMEDIATE_DATA]: NESTED },
  cmp: { [Nft.NFTA_CMP_SREG]: U32, [Nft.NFTA_CMP_OP]: U32, [Nft.NFTA_CMP_DATA]: NESTED },
  range: {
    [Nft.NFTA_RANGE_SREG]: U32,
    [Nft.NFTA_RANGE_OP]: BYTE,
    [Nft.NFTA_RANGE_FROM_DATA]: NESTED,
    [Nft.NFTA_RANGE_TO_DATA]: NESTED,
  },
  bitwise: {
    [Nft.NFTA_BITWISE_SREG]: U32,
    [Nft.NFTA_BITWISE_DREG]: U32,
    [Nft.NFTA_BITWISE_LEN]: U32,
    [Nft.NFTA_BITWISE_MASK]: NESTED,
    [Nft.NFTA_BITWISE_XOR]: NESTED,
    [Nft.NFTA_BITWISE_OP]: BYTE,
    [Nft.NFTA_BITWISE_DATA]: NESTED,
    [Nft.NFTA_BITWISE_SREG2]: U32,
  },
  byteorder: {
    [Nft.NFTA_BYTEORDER_SREG]: U32,
    [Nft.NFTA_BYTEORDER_DREG]: U32,
    [Nft.NFTA_BYTEORDER_OP]: BYTE,
    [Nft.NFTA_BYTEORDER_LEN]: BYTE,
    [Nft.NFTA_BYTEORDER_SIZE]: BYTE,
  },
  payload: {
    [Nft.NFTA_PAYLOAD_SREG]: U32,
    [Nft.NFTA_PAYLOAD_DREG]: U32,
    [Nft.NFTA_PAYLOAD_BASE]: U32,
    [Nft.NFTA_PAYLOAD_OFFSET]: WORD,
    [Nft.NFTA_PAYLOAD_LEN]: BYTE,
    [Nft.NFTA_PAYLOAD_CSUM_TYPE]: U32,
    [Nft.NFTA_PAYLOAD_CSUM_OFFSET]: BYTE,
    [Nft.NFTA_PAYLOAD_CSUM_FLAGS]: U32,
  },
  meta: { [Nft.NFTA_META_DREG]: U32, [Nft.NFTA_META_KEY]: BYTE, [Nft.NFTA_META_SREG]: U32 },
  ct: {
    [Nft.NFTA_CT_DREG]: U32,
    [Nft.NFTA_CT_KEY]: BYTE,
    [Nft.NFTA_CT_DIRECTION]: U8,
    [Nft.NFTA_CT_SREG]: U32,
  },
  exthdr: {
    [Nft.NFTA_EXTHDR_DREG]: U32,
    [Nft.NFTA_EXTHDR_TYPE]: U8,
    [Nft.NFTA_EXTHDR_OFFSET]: U32,
    [Nft.NFTA_EXTHDR_LEN]: BYTE,
    [Nft.NFTA_EXTHDR_FLAGS]: U32,
    [Nft.NFTA_EXTHDR_OP]: BYTE,
    [Nft.NFTA_EXTHDR_SREG]: U32,
  },
  rt: { [Nft.NFTA_RT_DREG]: U32, [Nft.NFTA_RT_KEY]: BYTE },
  socket: { [Nft.NFTA_SOCKET_KEY]: BYTE, [Nft.NFTA_SOCKET_DREG]: U32, [Nft.NFTA_SOCKET_LEVEL]: BYTE },
  fib: { [Nft.NFTA_FIB_DREG]: U32, [Nft.NFTA_FIB_RESULT]: U32, [Nft.NFTA_FIB_FLAGS]: masked(0x3f) },
  numgen: {
    [Nft.NFTA_NG_DREG]: U32,
    [Nft.NFTA_NG_MODULUS]: U32,
    [Nft.NFTA_NG_TYPE]: U32,
    [Nft.NFTA_NG_OFFSET]: U32,
  },
  hash: {
    [Nft.NFTA_HASH_SREG]: U32,
    [Nft.NFTA_HASH_DREG]: U32,
    [Nft.NFTA_HASH_LEN]: BYTE,
    [Nft.NFTA_HASH_MODULUS]: U32,
    [Nft.NFTA_HASH_SEED]: U32,
    [Nft.NFTA_HASH_OFFSET]: U32,
    [Nft.NFTA_HASH_TYPE]: U32,
  },
  osf: { [Nft.NFTA_OSF_DREG]: U32, [Nft.NFTA_OSF_TTL]: U8, [Nft.NFTA_OSF_FLAGS]: U32 },
  xfrm: {
    [Nft.NFTA_XFRM_DREG]: U32,
    [Nft.NFTA_XFRM_KEY]: BYTE,
    [Nft.NFTA_XFRM_DIR]: U8,
    [Nft.NFTA_XFRM_SPNUM]: BYTE,
  },
  tunnel: { [Nft.NFTA_TUNNEL_KEY]: BYTE, [Nft.NFTA_TUNNEL_DREG]: U32, [Nft.NFTA_TUNNEL_MODE]: BYTE },
  lookup: {
    [Nft.NFTA_LOOKUP_SET]: NAME,
    [Nft.NFTA_LOOKUP_SET_ID]: U32,
    [Nft.NFTA_LOOKUP_SREG]: U32,
    [Nft.NFTA_LOOKUP_DREG]: U32,
    [Nft.NFTA_LOOKUP_FLAGS]: masked(Nft.NFT_LOOKUP_F_INV),
  },
  dynset: {
    [Nft.NFTA_DYNSET_SET_NAME]: NAME,
    [Nft.NFTA_DYNSET_SET_ID]: U32,
    [Nft.NFTA_DYNSET_OP]: BYTE,
    [Nft.NFTA_DYNSET_SREG_KEY]: U32,
    [Nft.NFTA_DYNSET_SREG_DATA]: U32,
    [Nft.NFTA_DYNSET_TIMEOUT]: U64,
    [Nft.NFTA_DYNSET_EXPR]: NESTED,
    [Nft.NFTA_DYNSET_FLAGS]: U32,
    [Nft.NFTA_DYNSET_EXPRESSIONS]: NESTED,
  },
  objref: {
    [Nft.NFTA_OBJREF_IMM_NAME]: NAME,
    [Nft.NFTA_OBJREF_IMM_TYPE]: U32,
    [Nft.NFTA_OBJREF_SET_SREG]: U32,
    [Nft.NFTA_OBJREF_SET_NAME]: NAME,
    [Nft.NFTA_OBJREF_SET_ID]: U32,
  },
  counter: COUNTER,
  quota: QUOTA,
  limit: LIMIT,
  connlimit: CONNLIMIT,
  last: { [Nft.NFTA_LAST_SET]: U32, [Nft.NFTA_LAST_MSECS]: U64 },
  nat: {
    [Nft.NFTA_NAT_TYPE]: U32,
    [Nft.NFTA_NAT_FAMILY]: U32,
    [Nft.NFTA_NAT_REG_ADDR_MIN]: U32,
    [Nft.NFTA_NAT_REG_ADDR_MAX]: U32,
    [Nft.NFTA_NAT_REG_PROTO_MIN]: U32,
    [Nft.NFTA_NAT_REG_PROTO_MAX]: U32,
    [Nft.NFTA_NAT_FLAGS]: NAT_FLAGS,
  },
  masq: {
    [Nft.NFTA_MASQ_FLAGS]: NAT_FLAGS,
    [Nft.NFTA_MASQ_REG_PROTO_MIN]: U32,
    [Nft.NFTA_MASQ_REG_PROTO_MAX]: U32,
  },
  redir: {
    [Nft.NFTA_REDIR_REG_PROTO_MIN]: U32,
    [Nft.NFTA_REDIR_REG_PROTO_MAX]: U32,
    [Nft.NFTA_REDIR_FLAGS]: NAT_FLAGS,
  },
  reject: { [Nft.NFTA_REJECT_TYPE]: BYTE, [Nft.NFTA_REJECT_ICMP_CODE]: U8 },
  log: {
    [Nft.NFTA_LOG_GROUP]: U16,
    [Nft.NFTA_LOG_PREFIX]: string(127),
    [Nft.NFTA_LOG_SNAPLEN]: U32,
    [Nft.NFTA_LOG_QTHRESHOLD]: U16,
    [Nft.NFTA_LOG_LEVEL]: U32,
    [Nft.NFTA_LOG_FLAGS]: U32,
  },
  queue: {
    [Nft.NFTA_QUEUE_NUM]: U16,
    [Nft.NFTA_QUEUE_TOTAL]: U16,
    [Nft.NFTA_QUEUE_FLAGS]: U16,
    [Nft.NFTA_QUEUE_SREG_QNUM]: U32,
  },
  dup: { [Nft.NFTA_DUP_SREG_ADDR]: U32, [Nft.NFTA_DUP_SREG_DEV]: U32 },
  fwd: { [Nft.NFTA_FWD_SREG_DEV]: U32, [Nft.NFTA_FWD_SREG_ADDR]: U32, [Nft.NFTA_FWD_NFPROTO]: BYTE },
  tproxy: { [Nft.NFTA_TPROXY_FAMILY]: BYTE, [Nft.NFTA_TPROXY_REG_ADDR]: U32, [Nft.NFTA_TPROXY_REG_PORT]: U32 },
  synproxy: SYNPROXY,
  flow_offload: { [Nft.NFTA_FLOW_TABLE_NAME]: NAME },
  inner: {
    [Nft.NFTA_INNER_NUM]: U32,
    [Nft.NFTA_INNER_FLAGS]: U32,
    [Nft.NFTA_INNER_HDRSIZE]: U32,
    [Nft.NFTA_INNER_TYPE]: U32,
    [Nft.NFTA_INNER_EXPR]: NESTED,
  },
  match: EXTENSION,
  target: EXTENSION,
};

/** Of the data of objects, by their type. */
export const OBJECT_DATA: Readonly<Record<number, Policy>> = {
  [Nft.NFT_OBJECT_COUNTER]: COUNTER,
  [Nft.NFT_OBJECT_QUOTA]: QUOTA,
  [Nft.NFT_OBJECT_LIMIT]: LIMIT,
  [Nft.NFT_OBJECT_CONNLIMIT]: CONNLIMIT,
  [Nft.NFT_OBJECT_SYNPROXY]: SYNPROXY,
  [Nft.NFT_OBJECT_SECMARK]: { [Nft.NFTA_SECMARK_CTX]: string(256) },
  [Nft.NFT_OBJECT_CT_HELPER]: {
    [Nft.NFTA_CT_HELPER_NAME]: string(15),
    [Nft.NFTA_CT_HELPER_L3PROTO]: U16,
    [Nft.NFTA_CT_HELPER_L4PROTO]: U8,
  },
  [Nft.NFT_OBJECT_CT_EXPECT]: {
    [Nft.NFTA_CT_EXPECT_L3PROTO]: U16,
    [Nft.NFTA_CT_EXPECT_L4PROTO]: U8,
    [Nft.NFTA_CT_EXPECT_DPORT]: U16,
    [Nft.NFTA_CT_EXPECT_TIMEOUT]: U32,
    [Nft.NFTA_CT_EXPECT_SIZE]: U8,
  },
  [Nft.NFT_OBJECT_CT_TIMEOUT]: {
    [Nft.NFTA_CT_TIMEOUT_L3PROTO]: U16,
    [Nft.NFTA_CT_TIMEOUT_L4PROTO]: U8,
    [Nft.NFTA_CT_TIMEOUT_DATA]: NESTED,
  },
};
