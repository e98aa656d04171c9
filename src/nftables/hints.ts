import { NetlinkError, type Path } from '../errors.ts';
import type { Verdict } from '../transport/index.ts';

/** What an errno of nf_tables usually means. */
export const HINTS: Record<string, string> = {
  EPERM:
    "this needs CAP_NET_ADMIN in the user namespace that owns the network namespace, or the table belongs to another process's socket",
  ENOENT: 'there is no such object, or the kernel lacks this expression or chain type',
  EEXIST: 'it is there already',
  EBUSY: 'it is in use: other objects refer to it',
  EOPNOTSUPP: 'this kernel does not do this here (chain type, hook and family must fit)',
  EINVAL: 'the kernel does not take this value, or not in this place',
  ERESTART: 'the ruleset has changed since that generation',
  EMLINK: 'chains jump too deep, or in a circle',
};

/** The usual cause of a refusal, which depends on what the kernel points at. */
export function hintFor({ errno }: Verdict, path: Path): string | undefined {
  const { code } = new NetlinkError({ errno, syscall: '' });
  const field = path.at(-1);
  if (code === 'ENOENT' && field === 'table') return 'there is no such table';
  if (code === 'ENOENT' && (field === 'chain' || field === 'name')) return 'there is no such chain';
  if (code === 'ENOENT' && field === 'handle') return 'there is no rule with this handle';
  if (code === 'ENOENT' && path.includes('expressions'))
    return 'this kernel lacks the expression (its module is not there)';
  return HINTS[code];
}
