/* Sets, elements, stateful objects and flowtables (linux/netfilter/nf_tables.h, nfnetlink_cttimeout.h). */
export const NFT_SET_ANONYMOUS = 0x1;
export const NFT_SET_CONSTANT = 0x2;
export const NFT_SET_INTERVAL = 0x4;
export const NFT_SET_MAP = 0x8;
export const NFT_SET_TIMEOUT = 0x10;
export const NFT_SET_EVAL = 0x20;
export const NFT_SET_OBJECT = 0x40;
export const NFT_SET_CONCAT = 0x80;
export const NFT_SET_EXPR = 0x100;
export const NFT_SET_POL_PERFORMANCE = 0;
export const NFT_SET_POL_MEMORY = 1;

export const NFTA_SET_TABLE = 1;
export const NFTA_SET_NAME = 2;
export const NFTA_SET_FLAGS = 3;
export const NFTA_SET_KEY_TYPE = 4;
export const NFTA_SET_KEY_LEN = 5;
export const NFTA_SET_DATA_TYPE = 6;
export const NFTA_SET_DATA_LEN = 7;
export const NFTA_SET_POLICY = 8;
export const NFTA_SET_DESC = 9;
export const NFTA_SET_ID = 10;
export const NFTA_SET_TIMEOUT = 11;
export const NFTA_SET_GC_INTERVAL = 12;
export const NFTA_SET_USERDATA = 13;
export const NFTA_SET_OBJ_TYPE = 15;
export const NFTA_SET_HANDLE = 16;
export const NFTA_SET_EXPR = 17;
export const NFTA_SET_EXPRESSIONS = 18;

export const NFTA_SET_DESC_SIZE = 1;
export const NFTA_SET_DESC_CONCAT = 2;
export const NFTA_SET_FIELD_LEN = 1;

export const NFT_SET_ELEM_INTERVAL_END = 0x1;
export const NFT_SET_ELEM_CATCHALL = 0x2;
export const NFTA_SET_ELEM_KEY = 1;
export const NFTA_SET_ELEM_DATA = 2;
export const NFTA_SET_ELEM_FLAGS = 3;
export const NFTA_SET_ELEM_TIMEOUT = 4;
export const NFTA_SET_ELEM_EXPIRATION = 5;
export const NFTA_SET_ELEM_USERDATA = 6;
export const NFTA_SET_ELEM_EXPR = 7;
export const NFTA_SET_ELEM_OBJREF = 9;
export const NFTA_SET_ELEM_KEY_END = 10;
export const NFTA_SET_ELEM_EXPRESSIONS = 11;
export const NFTA_SET_ELEM_LIST_TABLE = 1;
export const NFTA_SET_ELEM_LIST_SET = 2;
export const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
export const NFTA_SET_ELEM_LIST_SET_ID = 4;

export const NFT_OBJECT_UNSPEC = 0;
export const NFT_OBJECT_COUNTER = 1;
export const NFT_OBJECT_QUOTA = 2;
export const NFT_OBJECT_CT_HELPER = 3;
export const NFT_OBJECT_LIMIT = 4;
export const NFT_OBJECT_CONNLIMIT = 5;
export const NFT_OBJECT_TUNNEL = 6;
export const NFT_OBJECT_CT_TIMEOUT = 7;
export const NFT_OBJECT_SECMARK = 8;
export const NFT_OBJECT_CT_EXPECT = 9;
export const NFT_OBJECT_SYNPROXY = 10;

export const NFTA_OBJ_TABLE = 1;
export const NFTA_OBJ_NAME = 2;
export const NFTA_OBJ_TYPE = 3;
export const NFTA_OBJ_DATA = 4;
export const NFTA_OBJ_USE = 5;
export const NFTA_OBJ_HANDLE = 6;
export const NFTA_OBJ_USERDATA = 8;

export const NFTA_CT_HELPER_NAME = 1;
export const NFTA_CT_HELPER_L3PROTO = 2;
export const NFTA_CT_HELPER_L4PROTO = 3;

export const NFTA_CT_TIMEOUT_L3PROTO = 1;
export const NFTA_CT_TIMEOUT_L4PROTO = 2;
export const NFTA_CT_TIMEOUT_DATA = 3;

export const NFTA_CT_EXPECT_L3PROTO = 1;
export const NFTA_CT_EXPECT_L4PROTO = 2;
export const NFTA_CT_EXPECT_DPORT = 3;
export const NFTA_CT_EXPECT_TIMEOUT = 4;
export const NFTA_CT_EXPECT_SIZE = 5;

export const NFTA_SECMARK_CTX = 1;

export const NFTA_TUNNEL_KEY_ID = 1;
export const NFTA_TUNNEL_KEY_IP = 2;
export const NFTA_TUNNEL_KEY_IP6 = 3;
export const NFTA_TUNNEL_KEY_FLAGS = 4;
export const NFTA_TUNNEL_KEY_TOS = 5;
export const NFTA_TUNNEL_KEY_TTL = 6;
export const NFTA_TUNNEL_KEY_SPORT = 7;
export const NFTA_TUNNEL_KEY_DPORT = 8;
export const NFTA_TUNNEL_KEY_OPTS = 9;

export const NFTA_TUNNEL_KEY_IP_SRC = 1;
export const NFTA_TUNNEL_KEY_IP_DST = 2;
export const NFTA_TUNNEL_KEY_IP6_SRC = 1;
export const NFTA_TUNNEL_KEY_IP6_DST = 2;
export const NFTA_TUNNEL_KEY_IP6_FLOWLABEL = 3;

export const NFTA_TUNNEL_KEY_OPTS_VXLAN = 1;
export const NFTA_TUNNEL_KEY_OPTS_ERSPAN = 2;
export const NFTA_TUNNEL_KEY_OPTS_GENEVE = 3;
export const NFTA_TUNNEL_KEY_VXLAN_GBP = 1;
export const NFTA_TUNNEL_KEY_ERSPAN_VERSION = 1;
export const NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX = 2;
export const NFTA_TUNNEL_KEY_ERSPAN_V2_HWID = 3;
export const NFTA_TUNNEL_KEY_ERSPAN_V2_DIR = 4;
export const NFTA_TUNNEL_KEY_GENEVE_CLASS = 1;
export const NFTA_TUNNEL_KEY_GENEVE_TYPE = 2;
export const NFTA_TUNNEL_KEY_GENEVE_DATA = 3;

export const NFT_TUNNEL_F_ZERO_CSUM_TX = 0x1;
export const NFT_TUNNEL_F_DONT_FRAGMENT = 0x2;
export const NFT_TUNNEL_F_SEQ_NUMBER = 0x4;

export const NFT_FLOWTABLE_HW_OFFLOAD = 0x1;
export const NFT_FLOWTABLE_COUNTER = 0x2;
export const NFTA_FLOWTABLE_TABLE = 1;
export const NFTA_FLOWTABLE_NAME = 2;
export const NFTA_FLOWTABLE_HOOK = 3;
export const NFTA_FLOWTABLE_USE = 4;
export const NFTA_FLOWTABLE_HANDLE = 5;
export const NFTA_FLOWTABLE_FLAGS = 7;
export const NFTA_FLOWTABLE_HOOK_NUM = 1;
export const NFTA_FLOWTABLE_HOOK_PRIORITY = 2;
export const NFTA_FLOWTABLE_HOOK_DEVS = 3;

export const CTA_TIMEOUT_GENERIC_TIMEOUT = 1;

export const CTA_TIMEOUT_TCP_SYN_SENT = 1;
export const CTA_TIMEOUT_TCP_SYN_RECV = 2;
export const CTA_TIMEOUT_TCP_ESTABLISHED = 3;
export const CTA_TIMEOUT_TCP_FIN_WAIT = 4;
export const CTA_TIMEOUT_TCP_CLOSE_WAIT = 5;
export const CTA_TIMEOUT_TCP_LAST_ACK = 6;
export const CTA_TIMEOUT_TCP_TIME_WAIT = 7;
export const CTA_TIMEOUT_TCP_CLOSE = 8;
export const CTA_TIMEOUT_TCP_SYN_SENT2 = 9;
export const CTA_TIMEOUT_TCP_RETRANS = 10;
export const CTA_TIMEOUT_TCP_UNACK = 11;

export const CTA_TIMEOUT_UDP_UNREPLIED = 1;
export const CTA_TIMEOUT_UDP_REPLIED = 2;

export const CTA_TIMEOUT_UDPLITE_UNREPLIED = 1;
export const CTA_TIMEOUT_UDPLITE_REPLIED = 2;

export const CTA_TIMEOUT_ICMP_TIMEOUT = 1;
export const CTA_TIMEOUT_ICMPV6_TIMEOUT = 1;

export const CTA_TIMEOUT_DCCP_REQUEST = 1;
export const CTA_TIMEOUT_DCCP_RESPOND = 2;
export const CTA_TIMEOUT_DCCP_PARTOPEN = 3;
export const CTA_TIMEOUT_DCCP_OPEN = 4;
export const CTA_TIMEOUT_DCCP_CLOSEREQ = 5;
export const CTA_TIMEOUT_DCCP_CLOSING = 6;
export const CTA_TIMEOUT_DCCP_TIMEWAIT = 7;

export const CTA_TIMEOUT_SCTP_CLOSED = 1;
export const CTA_TIMEOUT_SCTP_COOKIE_WAIT = 2;
export const CTA_TIMEOUT_SCTP_COOKIE_ECHOED = 3;
export const CTA_TIMEOUT_SCTP_ESTABLISHED = 4;
export const CTA_TIMEOUT_SCTP_SHUTDOWN_SENT = 5;
export const CTA_TIMEOUT_SCTP_SHUTDOWN_RECD = 6;
export const CTA_TIMEOUT_SCTP_SHUTDOWN_ACK_SENT = 7;
export const CTA_TIMEOUT_SCTP_HEARTBEAT_SENT = 8;
export const CTA_TIMEOUT_SCTP_HEARTBEAT_ACKED = 9;

export const CTA_TIMEOUT_GRE_UNREPLIED = 1;
export const CTA_TIMEOUT_GRE_REPLIED = 2;
