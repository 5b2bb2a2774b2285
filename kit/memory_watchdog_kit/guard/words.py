"""The words that the guard goes by, as lists that can be read and added to. English.

Covers: negations, words that point from one thing to another, numbers and units, synonyms, words without weight.
Leaves to others: opposites (`opposites`), inflected forms (`lexicon`), finding them in a query (`reading`), what
follows (`rules`).
"""

from __future__ import annotations

NOT_WORDS = """
not no never without cannot none neither nor nothing nobody nowhere instead cant dont doesnt didnt isnt arent wasnt
werent wont wouldnt shouldnt couldnt mustnt hasnt havent hadnt aint
"""
"""Negations that mean nothing else; `n't` is found by itself."""

NEGATING = """
except excluding unless missing absent lack fail refuse avoid prevent ignore skip omit forbid prohibit exclude
disable deactivate deny
"""
"""Words that negate what they stand with, in any form. All negations are counted: two queries with another number of
them contradict each other."""

NEGATING_PREFIXES = ("non", "un", "in", "im", "ir", "il", "dis", "de", "anti", "mis")
"""`sorted` and `unsorted`: of two queries that are alike but for this, any word may have such a prefix."""

NEGATED = """
unsafe unused unknown unsorted unexpected undefined unavailable unable unstable unsupported unhandled unreachable
unresolved unnecessary unauthorized unauthenticated unencrypted unordered uninitialized unchanged unread unvisited
untested unbounded unlimited unescaped untyped unnamed uncached unwanted unmatched unpaired unreliable untrusted
unverified unmapped untracked uncommitted unstaged unindexed unformatted undocumented unassigned unrelated unclosed
unbalanced unspecified unmerged unfinished unprocessed unchecked uncommon unclear unreviewed unlocked unreadable
inaccurate inadequate inconsistent incorrect incomplete incompatible insecure insensitive insufficient inaccessible
inefficient inexact invalid invisible impossible improper imprecise irregular irrelevant irreversible illegal
disallowed disconnected nonempty nonnull
"""
"""`unsafe` is `not safe`: a negation and the word without its prefix."""

PHRASES = """
enable = turn on, turned on, turning on, switch on, switched on
disable = turn off, turned off, turning off, switch off, switched off
exclude = leave out, leaves out, leaving out, left out, rule out, rules out, ruled out
except = everything but, all but, anything but, other than, apart from
reject = turn away, turned away, turn down, turned down
release = give back, gives back, given back
continue = go on, goes on, carry on, carries on
before = ahead of, in front
lazily = on demand
remove = get rid
login = log in, logs in, logged in, logging in, sign in
logout = log out, logs out, logged out, logging out, sign out
stop = shut down, shuts down, shutting down
rollback = roll back, rolled back, rolling back
minimum = at least
maximum = at most
until = up to
setup = set up
lookup = look up, looked up
cleanup = clean up
backup = back up
read-only = read only
instead = rather than
depends = depends on
depend = depend on
like = such as
also = as well
from = out of
timeout = time out, times out, timed out
zoomin = zoom in
zoomout = zoom out
optin = opt in
optout = opt out
checkin = check in
checkout = check out
fadein = fade in
fadeout = fade out
scalein = scale in
scaleout = scale out
swapin = swap in
swapout = swap out
"""
"""Two words that are read as one."""

PARTICLE_VERBS = """
turn turns turned turning switch switched switching toggle toggled power powered
"""
"""After these, within four words, `on` is `enable` and `off` is `disable`: turn the cache off."""

RELATIONS = """
call invoke use import extend inherit depend reference override implement wrap contain include trigger own block
await notify mock decorate subclass require consume publish subscribe delegate supersede outrank shadow mask precede
follow beat replace feed write read send receive return emit create spawn elect
"""
"""Verbs whose subject and object may not change places: `what calls parse`, `what does parse call`."""

RELATION_NOUNS = """
caller callers = call object
callee callees = call subject
user users = use object
usage usages use uses = use object
importer importers = import object
dependency dependencies = depend subject
dependent dependents = depend object
reference references = reference object
"""
"""What `caller of x` and `x callers` say of x."""

DIRECTIONS = """
to into onto towards toward as from of in on for with over under by inside within outside against through via than
before after per until till behind above below if when while because since whether unless without but instead except
minus between at around along across
"""
"""Between two things they say that these may not change places."""

INTERCHANGEABLE_DIRECTIONS = """
in of for on within inside at with from to into / via through over with by than / to into onto toward towards for
because since while as when if
"""
"""Where all else is the same, one of these may stand for another of its row."""

FROM = "from"
INTO = "to into onto towards toward as"
"""The next thing is the source, or the target."""

BEFORE_VERBS = """
do does did to that which who what can will should must may doesn't don't didn't where
"""
"""Shortly before a relation they say that it is a verb: `what calls x`, `does x call`, but not `the call stack`."""

EVEN_HANDED = """
and or vs versus between both equal equals same nor
"""
"""Between two things they say that these may change places."""

EVEN_HANDED_HEADS = """
compare compares compared comparing comparison difference differences differ differs diff distance similarity
similar versus vs between same equal equality intersection union overlap swap swapping merge merging join joining
combine combining mix correlation relation relationship
"""
"""Where one of these stands, `and`, `to`, `from`, `with` and `of` are even-handed too."""

INFINITIVE_AFTER = """
how way ways want wants wanted need needs needed try tries trying tried able used have has had going ready supposed
function functions method methods where what best when possible refuses fails code script command query tool class
program test tests like due according similar respect want easiest fastest right is
"""
"""After these, `to` leads nowhere: `how to`, `function to`."""

NO_PREFIX = """
deduplicate dedupe degrade default define deploy detail device index input import inform install instance image unit
union until under uniform universal unix mission
"""
"""They begin like words with a prefix that negates, and have none."""

BARE_VERBS = """
parse read write get find use make create run build check validate convert load save open close send receive handle
add remove delete update insert list sort filter print return call start stop enable disable configure install
connect calculate compute count generate fetch extract download upload merge split iterate loop avoid prevent change
set show see know understand implement define declare access append concatenate serialize deserialize encode decode
encrypt decrypt detect determine measure limit retry schedule wait throw catch raise be do have work replace rename
move copy
"""
"""Before these, `to` leads nowhere: `to parse a file`."""

SYNONYMS = """
delete remove erase drop / find locate show list search display get print see look
make create build generate produce / error exception failure problem issue bug
function method routine procedure callable / fix repair solve resolve / start launch run execute begin boot
stop end kill terminate halt quit / fetch get retrieve obtain load download read / save store write persist keep
change modify update edit alter set / use utilize employ / parse read analyze process / folder directory path
file document / argument parameter option flag / variable field attribute property / element item entry member value
string text / number integer / array list / dict dictionary map mapping hash / database db / repository repo
config configuration setting settings options preferences / env environment / auth authentication login
init initialize setup initialization set / big large huge / small little tiny / fast quick rapid
check verify validate test / convert transform turn change translate cast / compute calculate determine
join merge combine concatenate concat / split separate divide break chunk partition / count number amount
size length / log print record trace / send post submit / call invoke use run execute
handle process manage treat catch / describe explain document / picture image photo
implement write create build code define / job task work worker / happen occur / allow permit enable let
duplicate repeated / old previous former legacy / new fresh latest / wrong incorrect invalid bad
right correct valid good / endpoint route url api handler / install setup add / connect attach link
limit bound restrict cap throttle / speed performance / slow sluggish / crash fail break die
hang block freeze stuck / filter select / order sort rank / reverse invert flip / mean average
folder package module / return give yield / wait sleep pause / retry repeat / larger bigger greater
smaller less / choose pick select / common shared / mock fake stub / logic code implementation
place location spot / reason cause / definition declaration / usage use
"""
"""Where one word of a query is exchanged for another of the same row, it stays the same query; for any other it does
not."""

LITTLE = """
how what why where when who a an the is are was were be been being am do does did done doing can could should would
shall will may might must i we you he she they them it its this that these those my our your their there here which
whose me us just only also then so please let lets tell find give explain show example examples way ways exactly
really simply currently get gets getting got have has had want need like best proper properly correct correctly
actually possible able using via kind something anything someone thing things going about
"""
"""Words that may come and go without a change of meaning."""

QUESTIONS = """
how / why / where / when / who
"""
"""The first of these in a query says what is asked; `what` and `which` go with any."""

NUMBERS = """
zero two three four five six seven eight nine ten eleven twelve
"""
LARGE_NUMBERS = {
    "twice": "2",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "twenty": "20",
    "thirty": "30",
}
"""In words, beside `NUMBERS`. `one` is no number here: it is a pronoun as often."""

UNITS = """
ms, millisecond, milliseconds, msec / us, µs, microsecond, microseconds / ns, nanosecond, nanoseconds
s, sec, secs, second, seconds / min, mins, minute, minutes / h, hr, hrs, hour, hours / d, day, days / w, week, weeks
month, months / y, year, years / b, byte, bytes / kb, kib, k, kilobyte, kilobytes / mb, mib, m, megabyte, megabytes
gb, gib, g, gigabyte, gigabytes / tb, tib, terabyte, terabytes / %, percent / px, pixel, pixels / bit, bits
x, times
"""
"""After a number they belong to it. Each side is one unit, over all lines."""

IRREGULAR_FORMS = """
activate = activation
add = addition additions
allocate = allocation allocations
begin = began begun beginning
break = broke broken
buy = bought
catch = caught
compress = compression
create = creation
deactivate = deactivation
deallocate = deallocation deallocations
decompress = decompression
decrypt = decryption
delete = deletion deletions
depend = dependent
deny = denial
deserialize = deserialization
encrypt = encryption
exclude = exclusion exclusions
fall = fell fallen
forget = forgot forgotten
freeze = froze frozen
get = got gotten
grow = grew grown
hide = hid hidden
inherit = inheritance
insert = insertion insertions
install = installation
keep = kept
leave = left
lend = lent
lose = lost
prevent = prevention
read = readable
remove = removal removals
rise = rose risen
sell = sold
send = sent
serialize = serialization
shrink = shrank shrunk
spend = spent
throw = threw thrown
unfreeze = unfroze unfrozen
use = usage usages
wake = woke woken
win = won
write = wrote written
"""
"""Beside those in -s, -ed, -ing and -er."""
