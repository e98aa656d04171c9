/* include/uapi/linux/netfilter/nfnetlink_hook.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NFNL_MSG_HOOK_GET = 0;

export const NFNLA_HOOK_HOOKNUM = 1;
export const NFNLA_HOOK_PRIORITY = 2;
export const NFNLA_HOOK_DEV = 3;
export const NFNLA_HOOK_FUNCTION_NAME = 4;
export const NFNLA_HOOK_MODULE_NAME = 5;
export const NFNLA_HOOK_CHAIN_INFO = 6;
export const NFNLA_HOOK_INFO_DESC = 1;
export const NFNLA_HOOK_INFO_TYPE = 2;
export const NFNLA_CHAIN_TABLE = 1;
export const NFNLA_CHAIN_FAMILY = 2;
export const NFNLA_CHAIN_NAME = 3;

export const NFNL_HOOK_TYPE_NFTABLES = 1;

/** Linux 6.4. */
export const NFNL_HOOK_TYPE_BPF = 2;
/** Linux 6.17. */
export const NFNL_HOOK_TYPE_NFT_FLOWTABLE = 3;

/** Linux 6.4. */
export const NFNLA_HOOK_BPF_ID = 1;
