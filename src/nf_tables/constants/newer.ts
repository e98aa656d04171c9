/* What the headers of Debian 12 (Linux 6.1) do not have yet; the values are those of Linux 7.2. */
/* Linux 6.2: GETRULE_RESET, and packets inside of tunnels. */
export const NFT_MSG_GETRULE_RESET = 25;
export const NFT_PAYLOAD_TUN_HEADER = 4;
export const NFTA_INNER_NUM = 1;
export const NFTA_INNER_TYPE = 2;
export const NFTA_INNER_FLAGS = 3;
export const NFTA_INNER_HDRSIZE = 4;
export const NFTA_INNER_EXPR = 5;
export const NFT_INNER_VXLAN = 1;
export const NFT_INNER_GENEVE = 2;
export const NFT_INNER_HDRSIZE = 0x1;
export const NFT_INNER_LL = 0x2;
export const NFT_INNER_NH = 0x4;
export const NFT_INNER_TH = 0x8;

/* 6.3: deleting what need not be there. */
export const NFT_MSG_DESTROYTABLE = 26;
export const NFT_MSG_DESTROYCHAIN = 27;
export const NFT_MSG_DESTROYRULE = 28;
export const NFT_MSG_DESTROYSET = 29;
export const NFT_MSG_DESTROYSETELEM = 30;
export const NFT_MSG_DESTROYOBJ = 31;
export const NFT_MSG_DESTROYFLOWTABLE = 32;

/* 6.4. */
export const NFT_META_BRI_BROUTE = 35;
export const NFNL_HOOK_TYPE_BPF = 2;
export const NFNLA_HOOK_BPF_ID = 1;

/* 6.5. */
export const NFT_MSG_GETSETELEM_RESET = 33;

/* 6.9. */
export const NFT_TABLE_F_PERSIST = 0x4;

/* 6.13: two registers. */
export const NFTA_BITWISE_SREG2 = 8;
export const NFT_BITWISE_AND = 3;
export const NFT_BITWISE_OR = 4;
export const NFT_BITWISE_XOR = 5;

/* 6.16: the sets' implementation, and connections in traces. */
export const NFTA_SET_TYPE = 19;
export const NFTA_SET_COUNT = 20;
export const NFTA_TRACE_CT_ID = 18;
export const NFTA_TRACE_CT_DIRECTION = 19;
export const NFTA_TRACE_CT_STATUS = 20;
export const NFTA_TRACE_CT_STATE = 21;

/* 6.17, the first of them also in 6.16.6. */
export const NFTA_DEVICE_PREFIX = 2;
export const NFNL_HOOK_TYPE_NFT_FLOWTABLE = 3;

/* 6.18. */
export const NFT_META_BRI_IIFHWADDR = 37;
