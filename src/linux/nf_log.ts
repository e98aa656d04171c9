/* include/uapi/linux/netfilter/nf_log.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NF_LOG_TCPSEQ = 0x1;
export const NF_LOG_TCPOPT = 0x2;
export const NF_LOG_IPOPT = 0x4;
export const NF_LOG_UID = 0x8;
export const NF_LOG_NFLOG = 0x10;
export const NF_LOG_MACDECODE = 0x20;
