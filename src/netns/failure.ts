import { NetNsError } from '../errors.ts';

/** Turns an error of node:fs into this library's; any other stays what it is. */
export function fromNode(error: unknown, subject: string): unknown {
  const { errno, syscall } = error as NodeJS.ErrnoException;
  if (error instanceof NetNsError || errno === undefined) return error;
  return new NetNsError(subject, { errno, ...(syscall !== undefined && { syscall }) });
}
