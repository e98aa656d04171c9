import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { NAMES } from './names.ts';

export const NEEDED = 'apt-get install gcc libc6-dev linux-libc-dev';

/** Headers that have structures of ours and no wanted names. */
const STRUCTURES_ONLY = [
  'linux/if_bridge.h',
  'linux/netfilter/xt_LOG.h',
  'linux/netfilter/xt_MARK.h',
  'linux/netfilter/xt_comment.h',
  'linux/netfilter/xt_CLASSIFY.h',
  'linux/netfilter/xt_DSCP.h',
  'linux/netfilter/xt_LED.h',
  'linux/netfilter/xt_RATEEST.h',
  'linux/netfilter/xt_TCPOPTSTRIP.h',
  'linux/netfilter/xt_TEE.h',
  'linux/netfilter/xt_TPROXY.h',
  'linux/netfilter/xt_bpf.h',
  'linux/netfilter/xt_cgroup.h',
  'linux/netfilter/xt_cluster.h',
  'linux/netfilter/xt_connbytes.h',
  'linux/netfilter/xt_connlabel.h',
  'linux/netfilter/xt_connlimit.h',
  'linux/netfilter/xt_connmark.h',
  'linux/netfilter/xt_cpu.h',
  'linux/netfilter/xt_dccp.h',
  'linux/netfilter/xt_devgroup.h',
  'linux/netfilter/xt_dscp.h',
  'linux/netfilter/xt_ecn.h',
  'linux/netfilter/xt_esp.h',
  'linux/netfilter/xt_hashlimit.h',
  'linux/netfilter/xt_helper.h',
  'linux/netfilter/xt_ipcomp.h',
  'linux/netfilter/xt_iprange.h',
  'linux/netfilter/xt_ipvs.h',
  'linux/netfilter/xt_length.h',
  'linux/netfilter/xt_mac.h',
  'linux/netfilter/xt_mark.h',
  'linux/netfilter/xt_nfacct.h',
  'linux/netfilter/xt_osf.h',
  'linux/netfilter/xt_owner.h',
  'linux/netfilter/xt_physdev.h',
  'linux/netfilter/xt_pkttype.h',
  'linux/netfilter/xt_policy.h',
  'linux/netfilter/xt_quota.h',
  'linux/netfilter/xt_rateest.h',
  'linux/netfilter/xt_realm.h',
  'linux/netfilter/xt_recent.h',
  'linux/netfilter/xt_rpfilter.h',
  'linux/netfilter/xt_sctp.h',
  'linux/netfilter/xt_set.h',
  'linux/netfilter/xt_socket.h',
  'linux/netfilter/xt_statistic.h',
  'linux/netfilter/xt_string.h',
  'linux/netfilter/xt_tcpmss.h',
  'linux/netfilter/xt_time.h',
  'linux/netfilter/xt_u32.h',
  'linux/netfilter_ipv4/ip_tables.h',
  'linux/netfilter_ipv4/ipt_ah.h',
  'linux/netfilter_ipv4/ipt_ttl.h',
  'linux/netfilter_ipv6/ip6_tables.h',
  'linux/netfilter_ipv6/ip6t_ah.h',
  'linux/netfilter_ipv6/ip6t_frag.h',
  'linux/netfilter_ipv6/ip6t_hl.h',
  'linux/netfilter_ipv6/ip6t_ipv6header.h',
  'linux/netfilter_ipv6/ip6t_NPT.h',
  'linux/netfilter_ipv6/ip6t_mh.h',
  'linux/netfilter_ipv6/ip6t_opts.h',
  'linux/netfilter_ipv6/ip6t_rt.h',
  'linux/netfilter_ipv6/ip6t_srh.h',
];

export interface Answer {
  /** The version of the headers: '6.1.170'. */
  kernel: string;
  /** The value of each expression, or why the headers do not have it. */
  values: ({ value: string } | { missing: string })[];
}

/** Why C cannot be asked on this machine; undefined where it can. */
export function obstacle(): string | undefined {
  const compiler = spawnSync('cc', ['--version']);
  if (compiler.error || compiler.status !== 0) return `no C compiler: ${NEEDED}`;
  const headers = '#include <sys/socket.h>\n#include <linux/netfilter/nf_tables.h>\n';
  const found = spawnSync('cc', ['-E', '-x', 'c', '-'], { input: headers });
  return found.status === 0 ? undefined : `no kernel headers: ${NEEDED}`;
}

/** ipt_ttl.h and ipt_TTL.h have the same guard, as have ip6t_hl.h and ip6t_HL.h. */
function included(header: string): string {
  return `#if __has_include(<${header}>)\n#undef _IPT_TTL_H\n#undef _IP6T_HL_H\n#include <${header}>\n#endif`;
}

const PROLOGUE = `#define _GNU_SOURCE
/* The C library's net/if_arp.h and the kernel's linux/if_arp.h exclude each other: the kernel's is wanted. */
#define _NET_IF_ARP_H
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
${[...Object.keys(NAMES), ...STRUCTURES_ONLY].map(included).join('\n')}
#include <linux/version.h>
static void number(long long value) { printf("%lld\\n", value); }
int main(void) {
  (void)number;
  printf("%d.%d.%d\\n", LINUX_VERSION_CODE >> 16, LINUX_VERSION_CODE >> 8 & 255, LINUX_VERSION_CODE & 255);
`;
const PROLOGUE_LINES = PROLOGUE.split('\n').length - 1;

/**
 * Asks the compiler for the value of integer expressions of C.
 *
 * Enumerators cannot be asked for with #ifdef. So each expression is compiled on a line of its own; the lines that the compiler refuses are
 * what the headers lack, and the rest is compiled again until nothing is refused.
 *
 * @param expressions such as 'NLM_F_ACK' and 'sizeof(struct nlattr)'
 * @param uapi the folder include/uapi of other kernel headers than the installed ones
 */
export function ask(expressions: readonly string[], uapi?: string): Answer {
  const values: Answer['values'] = [];
  let open = expressions.map((expression, index) => ({ expression, index }));
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'probe-'));
  const flags = uapi === undefined ? [] : unexported(directory, uapi);
  try {
    for (;;) {
      const refused = compile(
        directory,
        flags,
        open.map(({ expression }) => expression),
      );
      if (refused === undefined) break;
      for (const [line, missing] of refused) {
        const probe = open[line];
        if (probe === undefined) throw new Error(`the probe itself does not compile: ${missing}`);
        values[probe.index] = { missing };
      }
      open = open.filter((_, line) => !refused.has(line));
    }
    const run = spawnSync(path.join(directory, 'probe'), { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`the probe failed: ${run.error ?? run.stderr}`);
    const [kernel = '', ...printed] = run.stdout.trimEnd().split('\n');
    for (const [i, value] of printed.entries()) values[open[i]!.index] = { value };
    return { kernel, values };
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/**
 * The packages with the headers for building modules have include/uapi as it is in the source, with words for the kernel's own checkers:
 * these are defined away here, as the kernel's `make headers_install` takes them away.
 */
function unexported(directory: string, uapi: string): string[] {
  fs.mkdirSync(path.join(directory, 'linux'));
  fs.writeFileSync(path.join(directory, 'linux/compiler_types.h'), '');
  fs.writeFileSync(path.join(directory, 'linux/compiler.h'), '');
  return ['-D__user=', '-D__force=', '-D__packed=__attribute__((packed))', '-I', directory, '-I', uapi];
}

/** Returns the expressions that were refused, by their place, with the reasons; or undefined where the program is there. */
function compile(directory: string, flags: string[], expressions: readonly string[]): Map<number, string> | undefined {
  const source = path.join(directory, 'probe.c');
  const lines = expressions.map(expression => `  number((long long)(${expression}));\n`);
  fs.writeFileSync(source, `${PROLOGUE}${lines.join('')}  return 0;\n}\n`);
  const { status, stderr } = spawnSync('cc', ['-w', ...flags, '-o', path.join(directory, 'probe'), source], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (status === 0) return undefined;
  const refused = new Map<number, string>();
  for (const [, line, reason] of stderr.matchAll(/probe\.c:(\d+):\d+: error: (.*)/g)) {
    const index = Number(line) - 1 - PROLOGUE_LINES;
    if (!refused.has(index)) refused.set(index, reason!);
  }
  if (refused.size === 0) throw new Error(`cc failed without a reason:\n${stderr}`);
  return refused;
}
