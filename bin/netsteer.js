#!/usr/bin/env node
import module from 'node:module';
import { userInfo } from 'node:os';
import { join } from 'node:path';

/*
 * Node 22.1 and later keep the compiled code, so that the next start is shorter. The folder is in the home of the user as the system knows it: Node's
 * default is in /tmp, where another user could put code for root.
 */
try {
  module.enableCompileCache?.(join(userInfo().homedir, '.cache', 'netsteer'));
} catch {
  // The user has no entry in the system's list, as is usual in containers. The program starts without a cache.
}

const { main } = await import('../dist/cli/index.js');
process.exitCode = await main(
  process.argv.slice(2),
  text => process.stdout.write(text),
  text => process.stderr.write(text),
);
