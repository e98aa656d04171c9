import fs from 'node:fs';
import { Iptables } from 'netsteer/iptables';

/* Run by bench/parse.ts in a namespace, as iptables-restore and iptables-save are: restores a file, or prints the rules, and ends. */

using ipt = Iptables.open();
const [, , what, file] = process.argv;
if (what === 'restore') ipt.sync.restore(fs.readFileSync(file!, 'utf8'));
else fs.writeSync(1, ipt.sync.save());
