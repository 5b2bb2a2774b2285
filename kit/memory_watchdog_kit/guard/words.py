"""The words that the guard goes by, as lists that can be read and added to. English.

Covers: negations, opposites of the trade, words that point from one thing to another.
Leaves to others: what follows from them (`rules`).
"""

from __future__ import annotations

NEGATIONS = frozenset(
    (
        "not no never without cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt shouldnt "
        "couldnt mustnt hasnt havent hadnt neither nor none nothing nobody except excluding unless instead "
        "lacks lacking missing fails failed failing avoid avoids avoiding prevent prevents preventing skip "
        "skips skipping ignore ignores ignoring omit omits omitting minus zero- "
    ).split()
)

_OPPOSITES = (
    "enable/disable add/remove add/delete insert/delete insert/remove create/delete create/destroy start/stop "
    "begin/end open/close encrypt/decrypt lock/unlock increase/decrease before/after first/last min/max "
    "minimum/maximum import/export read/write push/pull upload/download client/server sync/async "
    "synchronous/asynchronous ascending/descending asc/desc allow/deny allow/forbid allow/block permit/deny "
    "success/failure succeed/fail pass/fail get/post get/set get/put true/false on/off up/down left/right "
    "top/bottom above/below over/under inside/outside internal/external public/private local/remote "
    "local/global input/output encode/decode compress/decompress serialize/deserialize pack/unpack zip/unzip "
    "attach/detach connect/disconnect subscribe/unsubscribe register/unregister mount/unmount load/unload "
    "install/uninstall grant/revoke accept/reject approve/reject include/exclude show/hide expand/collapse "
    "grow/shrink raise/lower raise/catch throw/catch acquire/release allocate/free allocate/deallocate "
    "malloc/free send/receive producer/consumer publish/subscribe source/target source/destination parent/child "
    "ancestor/descendant master/slave primary/replica leader/follower high/low fast/slow faster/slower "
    "more/less more/fewer most/least large/small larger/smaller long/short longer/shorter early/late "
    "earlier/later old/new oldest/newest older/newer eager/lazy strict/lenient static/dynamic mutable/immutable "
    "stateful/stateless blocking/nonblocking online/offline manual/automatic horizontal/vertical row/column "
    "forward/backward forwards/backwards next/previous head/tail front/back prefix/suffix positive/negative "
    "even/odd upper/lower uppercase/lowercase request/response caller/callee commit/rollback upgrade/downgrade "
    "encrypt/plain merge/split join/split append/prepend ascend/descend inner/outer union/intersection and/or "
    "all/any all/none always/never everything/nothing dev/production development/production test/production "
    "staging/production debug/release warm/cold hit/miss keep/drop keep/discard accept/refuse stable/unstable "
    "safe/unsafe valid/invalid signed/unsigned sorted/unsorted known/unknown used/unused visible/hidden "
    "active/inactive alive/dead positive/false best/worst better/worse cheap/expensive win/lose buy/sell "
    "login/logout signin/signout pause/resume suspend/resume freeze/thaw freeze/unfreeze block/unblock "
    "mute/unmute undo/redo ingress/egress inbound/outbound incoming/outgoing read/update backup/restore "
    "save/load dump/load deep/shallow wide/narrow thick/thin strong/weak hard/soft heavy/light simple/complex "
    "single/multiple singular/plural abstract/concrete left/inner http/https ipv4/ipv6 tcp/udp gpu/cpu "
    "cpu/memory rss/vms stdin/stdout stdout/stderr exists/absent present/absent empty/full null/present "
    "superset/subset greater/less gt/lt maximize/minimize zoomin/zoomout debit/credit dark/light "
)

OPPOSITES: tuple[tuple[str, str], ...] = tuple(
    (left, right) for left, _, right in (pair.partition("/") for pair in _OPPOSITES.split())
)

_SURE_PREFIXES = {
    "in": (
        "accurate active adequate capable compatible complete consistent correct definite dependent direct "
        "efficient equality exact finite frequent sane secure sensitive sufficient valid visible "
    ),
    "im": ("balanced mutable perfect permanent possible precise proper "),
    "ir": ("recoverable regular relevant responsible reversible "),
    "il": ("legal literate logical "),
    "dis": ("able abled agree allow allowed associate connect connected connects engage join "),
    "de": (
        "activate activated allocate allocated compress compressed construct couple duplicate escalate "
        "normalize normalized populate queue queued reference referenced register registered serialize "
        "serialized serializer "
    ),
    "a": ("symmetric synchronous synchronously typical "),
    "non": ("blocking deterministic empty interactive null recursive root trivial unique zero "),
}

SURE_PREFIXES = {prefix: frozenset(words.split()) for prefix, words in _SURE_PREFIXES.items()}
"""Prefixes that turn a word round only before these. `un` does before any word of four letters."""

MOVING = {
    "from": "source",
    "to": "goal",
    "into": "goal",
    "onto": "goal",
    "towards": "goal",
    "toward": "goal",
    "as": "goal",
}
"""Words that say which end the next thing is."""

BETWEEN = frozenset(
    (
        "calls call calling override imports importing extends inherits depends uses using overrides wraps contains "
        "includes blocks triggers invokes owns references implements overwrites precedes follows replaces "
        "replacing beats wins before after than over under inside within in of for per by on behind above below "
        "instead against with shadows masks feeds awaits notifies sends waits mocks patches decorates "
        "subclasses supersedes outranks "
    ).split()
)
"""Words between two things that may not change places."""

NO_MOVE = frozenset(
    (
        "how way ways want wants need needs try trying able used have has going ready supposed function method "
        "where what best when possible refuses fails due according related similar respect prior "
    ).split()
)
"""After these, `to` begins an infinitive or an idiom and leads nowhere."""

LITTLE = frozenset(
    (
        "a an the is are was were be been being do does did can could should would will shall may might must i "
        "we you it its this that these those my our your there here how what why when where which who whom and "
        "or but if then so please me us just only also some each every there's let lets tell find give "
        "explain example way ways "
    ).split()
)

_COUNTED = "zero one two three four five six seven eight nine ten eleven twelve"
_MORE = {"once": "1", "twice": "2", "thrice": "3", "hundred": "100", "thousand": "1000", "million": "1000000"}

NUMBERS = {word: str(number) for number, word in enumerate(_COUNTED.split())} | _MORE
