"""Words that exclude each other, as lists that can be read and added to. English.

Covers: opposites and alternatives of the trade; beginnings and endings of words that are opposites.
Leaves to others: all other words that the guard goes by (`words`), inflected forms (`lexicon`), what follows (`rules`).

In a line `/` stands between the sides and `,` between words that mean the same there. Two queries contradict each other
if each names a side that the other does not.
"""

from __future__ import annotations

ACTIONS = """
add, insert, append, create, introduce / remove, delete, drop, destroy, erase, clear, purge
append / prepend
start, begin, launch, boot, startup / stop, end, finish, halt, terminate, kill, shutdown, quit
start / restart
open / close
encrypt / decrypt
encode / decode
lock, acquire / unlock, release
acquire, allocate, reserve, malloc / release, free, deallocate
increase, raise, grow, enlarge, widen, extend, expand, lengthen / decrease, reduce, lower, shrink, narrow, shorten
increment / decrement
import / export
read, load, get, fetch / write, save, store, set, put
read / update
push / pull / pop / peek
enqueue / dequeue
get / post / put / patch / delete
upload / download
send, emit, transmit, publish, produce / receive, get, accept, subscribe, consume
allow, permit, accept, grant, approve, whitelist, allowlist /\
    deny, forbid, block, reject, refuse, revoke, blacklist, denylist
succeed, success, successful, successfully / failure, error, crash
show, display, reveal / hide, conceal, mask
expand, open / collapse, fold
keep, retain, preserve / drop, discard, remove, delete, strip, lose, trim
attach, connect, join, link, bind / detach, disconnect, leave, unlink
merge, join, combine, concatenate, concat / split, separate, divide, partition
raise, throw / catch, handle, swallow, suppress
commit / rollback, revert, undo, abort
undo / redo
upgrade / downgrade
pause, suspend, freeze / resume, continue, unfreeze, thaw
fill / drain, empty
backup, save, dump / restore, load
compress, zip, gzip, pack / decompress, unzip, extract, unpack
login, signin, logon / logout, signout, logoff
zoomin, optin, checkin, fadein, scalein, swapin / zoomout, optout, checkout, fadeout, scaleout, swapout
register, signup / login
serialize, dump, marshal, pickle / deserialize, parse, load, unmarshal, unpickle
sign / verify
buy / sell
win / lose
follow / precede
escape / unescape, sanitize
minimize / maximize
speed, accelerate / slow, decelerate
upscale / downscale
lint / format
install / uninstall
build / run / test / deploy
hit / miss
request / respond, response, reply
ask / answer
borrow / lend
spend / earn
approve / review
remember / forget
mount / unmount
wait / notify
sleep / wake
ascend / descend
rise / fall
advance / retreat
move / copy
rename / delete
schedule / cancel
create / update
encourage / discourage
"""

QUALITIES = """
visible / hidden
mutable / immutable, frozen
sync, synchronous, synchronously / async, asynchronous, asynchronously
true / false
active / inactive, idle, passive
before, prior, pre / after, post
first, initial, earliest, head / last, final, latest, tail, trailing
first, 1st / second, 2nd / third, 3rd / fourth, 4th / fifth, 5th
min, minimum, minimal, least, smallest, lowest, fewest, shortest /\
    max, maximum, maximal, most, largest, biggest, highest, longest, greatest
small, smaller, little, tiny / large, larger, big, bigger, huge
low, lower, bottom / high, higher, top
short, shorter, brief / long, longer
fast, faster, quick, quicker, quickly / slow, slower, slowly
more / less, fewer
better, best, good / worse, worst, bad
early, earlier, eager, eagerly / late, later, lazy, lazily
old, older, oldest / new, newer, newest, recent
above, over / below, under, beneath
inside, within, inner / outside, outer, outward
internal / external
inner / outer / left / right
left, leftmost / right, rightmost
up, upward / down, downward
forward / backward, reverse
next, following / previous, preceding, prev
client / server
frontend / backend
asc, ascending / desc, descending
yes / no
public / private / protected
local / remote / global
source, origin / target, destination, sink
input / output
stdin / stdout / stderr
request / response
producer, publisher, sender / consumer, subscriber, receiver
parent, ancestor / child, children, descendant / sibling
master, primary, leader / slave, replica, follower, secondary, standby
base / derived
head / tail / body
prefix / suffix / infix
front / back
row, horizontal, horizontally / column, vertical, vertically
positive / negative
even / odd
upper, uppercase, capital / lower, lowercase
static, statically / dynamic, dynamically
strict / lenient, loose, relaxed
shallow / deep
manual, manually / automatic, automatically, auto
online / offline
online, streaming / batch
single, singular / multiple, many, several, plural
all, every, each / any, either, some
always / sometimes, rarely
full / empty, partial, incremental
null, none, nil / present
warm, hot / cold
wide / narrow
thick / thin
strong / weak
hard / soft
simple / complex, complicated
abstract / concrete
dense / sparse
exact, precise / approximate, fuzzy
live, alive / dead
fixed / variable
constant / variable
greater, gt / less, smaller, lt
superset, superclass / subset, subclass
union / intersection / difference
numerator / denominator
mean, average / median
value / reference / pointer / copy
key / value
debit / credit
dark / light
day / night
development, dev / staging / production, prod
debug / release
stable / beta, nightly, unstable
foreground / background
blocking / nonblocking
optimistic / pessimistic
symmetric / asymmetric
signed / unsigned
lossy / lossless
relative / absolute
raw / processed
ingress, inbound, incoming / egress, outbound, outgoing
broadcast, multicast / unicast
depth / breadth
preorder / inorder / postorder
big-endian / little-endian
encoder / decoder
train, training / test, testing / validation
heap / stack
cpu / gpu / tpu
memory, ram / disk / cpu
thread / process, processes / coroutine
unit / integration / e2e
read-only / read-write
authentication / authorization
host / guest / container
user / admin, administrator
width / height
latitude / longitude
x-axis / y-axis
hour, hourly / minute / day, daily / week, weekly / month, monthly / year, yearly
question / answer
odd / even
"""

ALTERNATIVES = """
json / yaml, yml / toml / xml / csv / tsv / ini / html / markdown, md / pdf / protobuf / parquet / avro / excel, xlsx
python / java / javascript, js / typescript, ts / go, golang / rust / ruby / php / kotlin / swift / scala / perl
postgres, postgresql / mysql / sqlite / redis / mongodb, mongo / cassandra / dynamodb / elasticsearch / memcached
linux / windows / macos, mac, osx / android / ios
aws / gcp / azure
django / flask / fastapi / rails / express / spring
react / vue / angular / svelte
pytest / unittest
tcp / udp / quic
http / https / ftp / sftp / ssh / grpc / websocket
get / post / put / patch / delete / head / options
list / dict, dictionary / set / tuple / queue / stack / tree
int, integer / float / bool, boolean / string, str / bytes / decimal
md5 / sha / crc / blake
class, classes / function, method / module, package / variable
css / html / scss
english / german / french / spanish / italian / chinese / japanese
monday / tuesday / wednesday / thursday / friday / saturday / sunday
january / february / march / april / june / july / august / september / october / november / december
red / green / blue / yellow / black / white
gzip / brotli / zstd / lz4 / bzip / zip / tar
rsa / aes / ecdsa / hmac
jwt / oauth / saml / ldap / cookie
git / svn / mercurial
npm / yarn / pip / conda / cargo / maven / gradle
docker / podman / kubernetes, k8s
tabs / spaces
insert / update / delete / select
celsius / fahrenheit / kelvin
utc / local
north / south / east / west
"""

OPPOSED_PREFIXES = """
en/de up/down in/out in/ex im/ex pre/post over/under super/sub inter/intra micro/macro mono/multi uni/multi single/multi
at/de in/de as/de ac/de pro/re fore/back for/back front/back mini/maxi min/max upper/lower hyper/hypo homo/hetero
inter/exter bi/uni ante/post de/re left/right first/last full/half hot/cold
"""
"""`upstream` and `downstream`, `encode` and `decode`: the rest of the word is the same."""

OPPOSED_SUFFIXES = """
er/ee less/ful less/ed
"""
"""`caller` and `callee`, `stateless` and `stateful`."""
