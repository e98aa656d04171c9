import fs from 'node:fs';
import { Nftables } from 'netsteer/nftables';

/* Run by bench/parse.ts in a namespace, as nft is: applies a file, and ends. */

using nft = Nftables.open();
nft.sync.apply(fs.readFileSync(process.argv[2]!, 'utf8'), { source: process.argv[2]! });
