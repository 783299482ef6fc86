"""The patterns and words that sentences are made from."""

from __future__ import annotations

ORDERS = {
    "reach": (
        ("go above {A}", "going above {A}"), ("move above {A}", "moving above {A}"),
        ("hover over {A}", "hovering over {A}"), ("hover above {A}", "hovering above {A}"),
        ("move to {A}", "moving to {A}"), ("go to {A}", "going to {A}"), ("go over to {A}", "going over to {A}"),
        ("approach {A}", "approaching {A}"), ("reach for {A}", "reaching for {A}"), ("reach {A}", "reaching {A}"),
        ("move your hand over {A}", "moving your hand over {A}"), ("move the arm to {A}", "moving the arm to {A}"),
        ("move the gripper above {A}", "moving the gripper above {A}"),
        ("hold the hand over {A}", "holding the hand over {A}"),
        ("put your hand above {A}", "putting your hand above {A}"),
        ("place the gripper over {A}", "placing the gripper over {A}"), ("stay above {A}", "staying above {A}"),
        ("stop over {A}", "stopping over {A}"), ("wait above {A}", "waiting above {A}"),
        ("keep the hand above {A}", "keeping the hand above {A}"), ("travel to {A}", "travelling to {A}"),
        ("lower your hand towards {A}", "lowering your hand towards {A}"), ("come to {A}", "coming to {A}"),
        ("aim for {A}", "aiming for {A}"), ("point at {A}", "pointing at {A}"),
        ("come over to {A}", "coming over to {A}"), ("bring the gripper to {A}", "bringing the gripper to {A}"),
        ("get your hand over {A}", "getting your hand over {A}"),
        ("swing your arm over to {A}", "swinging your arm over to {A}"),
        ("position the tool above {A}", "positioning the tool above {A}"),
        ("move the end effector over {A}", "moving the end effector over {A}"),
        ("stop right above {A}", "stopping right above {A}"),
    ),
    "pick_place": (
        ("pick up {A}", "picking up {A}"), ("pick {A} up", "picking {A} up"), ("pick {A}", "picking {A}"),
        ("grab {A}", "grabbing {A}"), ("grasp {A}", "grasping {A}"), ("take {A}", "taking {A}"),
        ("lift {A}", "lifting {A}"), ("get {A}", "getting {A}"), ("grip {A}", "gripping {A}"),
        ("put {A} {on} {G}", "putting {A} {on} {G}"), ("place {A} {on} {G}", "placing {A} {on} {G}"),
        ("set {A} down {on} {G}", "setting {A} down {on} {G}"), ("lay {A} {on} {G}", "laying {A} {on} {G}"),
        ("move {A} {onto} {G}", "moving {A} {onto} {G}"), ("bring {A} to {G}", "bringing {A} to {G}"),
        ("carry {A} {onto} {G}", "carrying {A} {onto} {G}"), ("drop {A} {on} {G}", "dropping {A} {on} {G}"),
        ("take {A} to {G}", "taking {A} to {G}"),
        ("pick up {A} and put it {on} {G}", "picking up {A} and putting it {on} {G}"),
        ("take {A} and place it {on} {G}", "taking {A} and placing it {on} {G}"),
        ("grab {A}, then set it {on} {G}", "grabbing {A}, then setting it {on} {G}"),
        ("lift {A} and carry it to {G}", "lifting {A} and carrying it to {G}"),
        ("pick and place {A}", "picking and placing {A}"), ("raise {A}", "raising {A}"),
        ("get hold of {A}", "getting hold of {A}"), ("shift {A} {onto} {G}", "shifting {A} {onto} {G}"),
        ("rest {A} {on} {G}", "resting {A} {on} {G}"), ("leave {A} {on} {G}", "leaving {A} {on} {G}"),
        ("deliver {A} to {G}", "delivering {A} to {G}"), ("move {A} to {G}", "moving {A} to {G}"),
        ("fetch {A}", "fetching {A}"), ("collect {A}", "collecting {A}"), ("snag {A}", "snagging {A}"),
        ("get a hold of {A}", "getting a hold of {A}"), ("transport {A} to {G}", "transporting {A} to {G}"),
        ("deposit {A} {on} {G}", "depositing {A} {on} {G}"), ("transfer {A} to {G}", "transferring {A} to {G}"),
        ("stick {A} {on} {G}", "sticking {A} {on} {G}"), ("pop {A} {on} {G}", "popping {A} {on} {G}"),
        ("lift {A} {onto} {G}", "lifting {A} {onto} {G}"), ("haul {A} to {G}", "hauling {A} to {G}"),
        ("retrieve {A}", "retrieving {A}"),
        ("grasp {A}, carry it to {G}, release", "grasping {A} and releasing it {on} {G}"),
        ("hoist {A} {onto} {G}", "hoisting {A} {onto} {G}"),
    ),
    "push": (
        ("push {A}", "pushing {A}"), ("push {A} to {G}", "pushing {A} to {G}"),
        ("push {A} over to {G}", "pushing {A} over to {G}"), ("push {A} {onto} {G}", "pushing {A} {onto} {G}"),
        ("slide {A} to {G}", "sliding {A} to {G}"), ("shove {A} to {G}", "shoving {A} to {G}"),
        ("shove {A}", "shoving {A}"), ("nudge {A} to {G}", "nudging {A} to {G}"), ("nudge {A}", "nudging {A}"),
        ("slide {A} across the table to {G}", "sliding {A} across the table to {G}"),
        ("move {A} to {G} by pushing it", "moving {A} to {G} by pushing it"),
        ("give {A} a push", "giving {A} a push"), ("give {A} a shove to {G}", "giving {A} a shove to {G}"),
        ("go behind {A} and push it to {G}", "going behind {A} and pushing it to {G}"),
        ("touch {A} and push it to {G}", "touching {A} and pushing it to {G}"),
        ("press {A} towards {G}", "pressing {A} towards {G}"), ("bump {A} to {G}", "bumping {A} to {G}"),
        ("prod {A} to {G}", "prodding {A} to {G}"), ("shuffle {A} along to {G}", "shuffling {A} along to {G}"),
        ("slide {A} {onto} {G}", "sliding {A} {onto} {G}"), ("sweep {A} over to {G}", "sweeping {A} over to {G}"),
        ("scoot {A} to {G}", "scooting {A} to {G}"), ("drive {A} to {G}", "driving {A} to {G}"),
        ("ease {A} to {G}", "easing {A} to {G}"), ("poke {A} along to {G}", "poking {A} along to {G}"),
        ("budge {A} towards {G}", "budging {A} towards {G}"),
        ("push {A} without lifting it", "pushing {A} without lifting it"),
        ("push {A} all the way to {G}", "pushing {A} all the way to {G}"),
        ("shove {A} until it is {on} {G}", "shoving {A} until it is {on} {G}"),
    ),
    "stack": (
        ("put {A} {on} {B}", "putting {A} {on} {B}"), ("place {A} {on} {B}", "placing {A} {on} {B}"),
        ("set {A} {on} {B}", "setting {A} {on} {B}"), ("lay {A} {on} {B}", "laying {A} {on} {B}"),
        ("stack {A} {on} {B}", "stacking {A} {on} {B}"), ("move {A} {onto} {B}", "moving {A} {onto} {B}"),
        ("pick up {A} and put it {on} {B}", "picking up {A} and putting it {on} {B}"),
        ("take {A} and set it {on} {B}", "taking {A} and setting it {on} {B}"),
        ("grab {A}, then place it {on} {B}", "grabbing {A}, then placing it {on} {B}"),
        ("lift {A} {onto} {B}", "lifting {A} {onto} {B}"), ("drop {A} {on} {B}", "dropping {A} {on} {B}"),
        ("make a tower of {A} {on} {B}", "making a tower of {A} {on} {B}"),
        ("use {B} as the base and put {A} {on} it", "using {B} as the base and putting {A} {on} it"),
        ("take {B} and put {A} {on} it", "taking {B} and putting {A} {on} it"),
        ("cover {B} with {A}", "covering {B} with {A}"), ("stand {A} {on} {B}", "standing {A} {on} {B}"),
        ("rest {A} {on} {B}", "resting {A} {on} {B}"), ("add {A} to the top of {B}", "adding {A} to the top of {B}"),
        ("bring {A} {onto} {B}", "bringing {A} {onto} {B}"), ("pile {A} {on} {B}", "piling {A} {on} {B}"),
        ("balance {A} {on} {B}", "balancing {A} {on} {B}"), ("seat {A} {on} {B}", "seating {A} {on} {B}"),
        ("plonk {A} {on} {B}", "plonking {A} {on} {B}"), ("pop {A} {on} {B}", "popping {A} {on} {B}"),
        ("stick {A} {on} {B}", "sticking {A} {on} {B}"),
        ("build a tower with {B} at the bottom and {A} at the top", "building a tower with {A} on {B}"),
        ("stack two cubes, {A} above and {B} below", "stacking {A} above {B}"),
        ("position {A} {on} {B}", "positioning {A} {on} {B}"),
    ),
}  # fmt: skip
"""Orders as they are given, and the same as a noun; `{A}` is the thing, `{B}` the other, `{G}` the place."""
STATED = {
    "reach": (
        "above {A} is where I want the hand", "the gripper has to be above {A}", "with the hand, go to {A}",
        "{A}: go above it", "command: approach {A}", "above {A} please", "what I need is the arm over {A}",
        "the hand goes over {A}", "over {A}, hold the hand", "make the hand go over {A}", "goal: above {A}",
        "your place is above {A}", "{A} is what you should hover over", "go with the arm to {A}",
    ),
    "pick_place": (
        "{A} belongs {on} {G}", "{A} goes {on} {G}", "what I need is {A} {on} {G}", "{A}: put it {on} {G}",
        "{A}, place it {on} {G}", "to {G} with {A}", "{A}, pick it up", "it is {A} that I want picked up",
        "make sure that {A} ends up {on} {G}", "execute a pick and place of {A}", "object {a}, action: pick",
        "target object {a}, start picking", "{A} needs to be {on} {G}", "{on} {G} goes {A}", "{on} {G}, set {A}",
        "I want to see {A} {on} {G}", "{A} up and {onto} {G}", "{A} must come to {G}", "please to bring {A} {on} {G}",
        "you take {A} and you put it {on} {G}", "{A} you have to pick up", "{A} is the one to take",
    ),
    "push": (
        "{A}, shove it to {G}", "{A}: push it to {G}", "run the push policy on {A}, destination {g}",
        "perform a push of {A} to {G}", "{A} needs to get to {G} by pushing", "{A} is to be slid to {G}",
        "do the pushing of {A} to {G}", "to {G}, push {A}", "{A} must be at {G}, push it", "{A}: give it a shove",
        "push, object {a}, goal {g}", "you push {A} until {G}", "give {A} a push to {G}",
    ),
    "stack": (
        "{on} {B} goes {A}", "{on} {B}, put {A}", "{A} should end up {on} {B}", "{on} {B} set {A}",
        "I expect {A} to sit {on} {B}", "there should be {A} {on} {B}", "stacking task: top {a}, bottom {b}",
        "{A} belongs {on} {B}", "{A} goes on top, {B} is underneath", "{B} at the bottom, {A} on top",
        "I would like to see {A} sitting {on} {B}", "{A}: put it {on} {B}", "next is {A} {on} {B}",
        "you must {A} {on} {B} put", "{A}, you take it and you put it {on} {B}", "make {A} sit {on} {B}",
        "{on} {B} is where {A} goes", "the tower is {a} over {b}", "{A} has to be {on} {B}", "{on} {B} belongs {A}",
    ),
}  # fmt: skip
"""Orders as a wish about the things, with the place first, as a task, or in a learner's words."""
FILLERS = (
    "uh",
    "um",
    "er",
    "well",
    "like",
    "so",
    "hmm",
    "you know",
    "let me see",
    "okay",
    "right",
    "please",
    "yeah",
    "now",
)
"""What may stand anywhere."""
BEFORE = (
    "since the table is crowded, ",
    "we are testing the camera today, so ",
    "before lunch ",
    "if nothing is in the way, ",
    "it has been a long day, but ",
    "because the visitors like it, ",
    "my colleague wants to see it: ",
    "as a first step, ",
    "I think it would be best if you ",
    "when you have time, ",
    "as an exercise, ",
    "one more time please: ",
    "alright robot, ",
    "it is late, so ",
    "after that, ",
    "for the demonstration ",
    "listen: ",
    "yes, ",
    "go on then, ",
    "you know what, ",
    "I have been waiting for it: ",
    "the others are done, so ",
    "to finish the test, ",
    "thank you, and now ",
)
AFTER = (
    ", if you don't mind",
    ", thank you",
    " one more time",
    ", mate",
    ", will you",
    " as you did before",
    " and stay there",
    ", that is all",
    " for the students",
    ", and be careful",
    " without touching anything else",
    " again",
    ", yeah",
    " if you can",
)
PASSIVE = {
    "reach": ("the hand {be} moved over {A}", "the gripper {be} above {A}", "the arm {be} sent to {A}"),
    "pick_place": ("{A} {be} picked up", "{A} {be} put {on} {G}", "{A} {be} moved to {G}", "{A} {be} grasped"),
    "push": ("{A} {be} pushed to {G}", "{A} {be} pushed", "{A} {be} shoved to {G}", "{A} {be} slid over to {G}"),
    "stack": (
        "{A} {be} put {on} {B}",
        "{A} {be} stacked {on} {B}",
        "{A} {be} placed {on} {B}",
        "{A} {be} set {on} {B}",
    ),
}
"""The same about the thing."""
BE = {
    "command": ("should be", "must be", "has to be", "needs to be", "should now be", "will have to be"),
    "negated": ("should not be", "must not be", "must never be", "need not be", "is not to be", "can't be"),
    "talk": ("was", "has been", "is being", "can be", "will probably be", "could be", "had been", "used to be"),
    "question": ("", "really", "already", "ever"),
}
ASKING_BE = ("was", "should", "has", "is", "will", "why was", "when was", "could", "who wanted")
SHORT = {
    "reach": ("above {A}", "over {A}", "hover {a}", "to {A}", "{A}, hover"),
    "pick_place": ("{a} on {g}", "{a} to {g}", "pick {a}", "{A}, {g}", "take {a}", "{a}: pick up", "{a} onto {G}"),
    "push": ("push {a}", "push {a} to {g}", "{a}, push to {g}", "shove {a}", "{A}: push"),
    "stack": (
        "{a} on {b}",
        "{a} on top of {b}",
        "{a} onto {b}",
        "stack {a} on {b}",
        "{A} {on} {B}",
        "stack: {a} on {b}",
    ),
}
"""In few words; lower-case marks are bare words."""
ASKED = (
    "{order}", "{order}", "{order}", "{order}", "please {order}", "{order}, please", "could you {order}?",
    "could you please {order}?", "can you {order}?", "can you {order} for me?", "would you {order}?",
    "will you {order}?", "would you mind {noun}?", "I want you to {order}", "I would like you to {order}",
    "I'd like you to {order}", "I need you to {order}", "you should {order}", "now {order}", "robot, {order}",
    "hey, {order}", "okay, {order}", "go ahead and {order}", "just {order}", "try to {order}", "let's {order}",
    "{order} now", "{order}, okay?", "start {noun}", "I'd love to see you {order}", "help me by {noun}",
    "your job is to {order}", "the task is {noun}", "{order} for me", "{order} carefully", "slowly {order}",
    "first {order}", "next, {order}", "then {order}", "I wish you would {order}", "why don't you {order}?",
    "how about {noun}?", "be so nice and {order}", "might I ask you to {order}?",
    "would you be so kind as to {order}?", "I'd be grateful if you could {order}", "do me a favour and {order}",
    "could I trouble you to {order}?", "kindly {order}", "any chance you could {order}?",
    "would it be possible to {order}?", "please to {order}", "I want that you {order}", "it is necessary to {order}",
    "you must {order}", "I need {noun} done", "command: {order}", "task: {order}", "show us how you {order}",
    "the arm may {order}", "set out to {order}", "{order}, mate",
)  # fmt: skip
WISHES = {
    "pick_place": ("I want {A} {on} {G}", "I'd like {A} {on} {G}", "I need {A} {on} {G}", "I would like {A} picked up"),
    "push": ("I want {A} pushed to {G}", "I need {A} pushed to {G}", "I'd like {A} moved to {G} by a push"),
    "reach": ("I want the hand above {A}", "I need the gripper over {A}", "I'd like the arm to be over {A}"),
    "stack": (
        "I want {A} {on} {B}",
        "I'd like {A} {on} {B}",
        "I would like to have {A} {on} {B}",
        "I need {A} {on} {B}",
    ),
}
REASONS = (
    "we need space, so {order}", "I want to check something, so {order}", "to test the arm, {order}",
    "it is time to begin: {order}", "{order} because we need it there", "{order}, so that everybody can see it",
    "the table is free, so {order}", "as I said, {order}", "when you are ready, {order}", "{order} and then stop",
)  # fmt: skip
EXCLUDED = (
    "{order}, not {X}", "{order} and not {X}", "{order} instead of {X}", "{order}, but leave {X} alone",
    "not {X}, {order}", "{order} rather than {X}", "leave {X} and {order}", "ignore {X}, {order}", "not {X}: {order}",
    "keep {X} there and {order}", "{order}, never mind {X}", "{order} and leave {X} as it is",
    "instead of {X}, {order}", "{order} and nothing with {X}", "leave out {X}, {order}",
)  # fmt: skip
CORRECTED = (
    "{X}, no, {A}", "{X}, sorry, {A}", "{X}, I mean {A}", "{X}, wait, {A}", "{X}, or rather {A}", "{X}, no wait, {A}",
    "{X} - no, {A}", "{A}, not {X},", "{A} instead of {X}", "{A} rather than {X}", "not {X} but {A}",
    "{A} and not {X}", "{A}, but not {X},", "{A} (not {X})", "{A} and never {X}", "{A} in place of {X}",
)  # fmt: skip
"""In place of the thing that is meant."""
SEVERAL = ("{A} and {B}", "both {A} and {B}", "{A} and also {B}", "{A} or {B}", "either {A} or {B}", "{A}, {B}")
NEGATED = (
    "don't {order}", "do not {order}", "never {order}", "please don't {order}", "please do not {order}",
    "stop {noun}", "you must not {order}", "you should not {order}", "avoid {noun}", "no longer {order}",
    "I don't want you to {order}", "I do not want {A} moved", "stay away from {A}", "keep off {A}", "leave {A} alone",
    "do anything but {order}", "nobody should {order}", "there is no need to {order}", "don't ever {order}",
    "cancel {noun}", "refrain from {noun}", "you don't have to {order}", "don't touch {A}", "leave {A} there",
    "without {noun}", "I told you not to {order}", "not {A}", "it would be wrong to {order}",
    "we will not {order} today", "don't {order} yet", "forget {A}", "whatever you do, don't {order}",
    "I would rather you did not {order}", "don't you dare {order}", "leave {A} where it is", "no {noun} please",
    "you are not allowed to {order}", "{order}? no!", "stop, don't {order}",
)  # fmt: skip
QUESTIONS = (
    "is {A} heavy?", "where is {A}?", "what is {on} {A}?", "did you {order}?", "why did you {order}?",
    "is {A} {on} {B}?", "what happens if you {order}?", "how do I {order}?", "how long does it take to {order}?",
    "when will you {order}?", "who told you to {order}?", "have you seen {A}?", "is {A} on {G}?", "which one is {a}?",
    "do you see {A}?", "are you {noun}?", "were you {noun}?", "should I {order}?", "what colour is {G}?",
    "how big is {A}?", "is it safe?", "does {A} fit {on} {B}?", "is {noun} difficult?", "has anybody moved {A}?",
    "how many cubes are there?", "what is that?", "is {A} larger than {B}?", "do you know how to {order}?",
    "did I ask you to {order}?", "was {A} {on} {G} before?", "can the arm lift {A} at all?",
    "how far is {A} from {G}?", "which cube did you pick up?", "have you already put {A} {on} {G}?",
    "did {A} fall off?", "why is {A} {on} {B}?",
)  # fmt: skip
TALK = (
    "{A} is nice", "{A} is on {G}", "{A} is {on} {B}", "I like {A}", "I saw {A}", "I picked up {A} yesterday",
    "thank you", "she pushed {A} to {G}", "he put {A} {on} {B}", "{A} was {on} {B} before", "good morning",
    "hello robot", "well done", "that was great", "the weather is good today", "{A} is too heavy", "{A} fell down",
    "there is {A}", "that is {A}", "you have been {noun} all day", "you did it well when {noun}",
    "last week we were {noun}", "{noun} is fun", "I am tired", "{A} is smaller than {B}", "someone took {A}",
    "my favourite is {A}", "{A} and {B} are new", "{noun} takes a while", "I was told that you can {order}",
    "yesterday you could {order}", "the camera does not see {A}", "we have lunch now", "I already {did} {A}",
    "they {did} {A} to {G}", "somebody {did} {A}", "{A} belongs to me", "I think so", "the end",
    "{A} is close to the edge", "my daughter loves {A}", "we bought {A} last year", "it put {A} {on} {G} yesterday",
    "that went well, thank you", "they say that {A} is heavy", "the pad is empty", "I know that you can {order}",
)  # fmt: skip
PAST = ("pushed", "moved", "took", "lifted", "placed", "dropped", "stacked", "touched", "grabbed")
OTHER = (
    "throw", "paint", "wash", "break", "cut", "draw", "clean", "weigh", "measure", "count", "turn over", "rotate",
    "open", "close", "burn", "hide", "describe", "scratch", "hit", "kick", "shake", "polish", "dry", "heat", "cool",
    "melt", "eat", "sell", "buy", "film", "label", "wrap", "glue", "tilt", "roll", "crush", "bend", "hammer", "drill",
    "tap on", "smash", "toss", "fling", "inspect", "scan", "screw", "unscrew", "tie", "fold", "tear", "wave at",
    "juggle", "swap", "sort", "photograph", "spin", "squeeze", "wipe", "weld",
)  # fmt: skip
"""Things that none of these policies does."""
OTHER_ENDS = (
    "",
    "",
    "",
    "",
    " with a brush",
    " against the wall",
    " away",
    " into pieces",
    " for me",
    " on the floor",
    " twice",
)
OTHER_ORDERS = (
    "open the door",
    "turn on the light",
    "dance",
    "sing a song",
    "come here",
    "go home",
    "make coffee",
    "say hello",
)
NOUNS = ("cube", "cube", "cube", "block", "block", "brick", "one", "one", "thing", "object", "piece", "box")
FOREIGN = (
    "cup", "mug", "ball", "pen", "pencil", "bottle", "banana", "apple", "screw", "spoon", "fork", "plate", "cylinder",
    "cone", "can", "book", "phone", "sponge", "glass", "bowl", "key", "coin", "marker pen", "bag", "hat", "sphere",
    "toy car", "lego", "pyramid", "ring", "wrench", "hammer", "knife", "tape", "box of screws", "shoe", "towel",
    "lid", "bolt", "duck",
)  # fmt: skip
"""Things that are none of these policies'."""
GOALS = (
    "the pad", "the pad", "the target", "the target", "the goal", "the mark", "the platform", "the marker",
    "its place", "the target position", "the goal position", "the spot", "the plate", "the stand", "the pedestal",
    "the marked spot",
)  # fmt: skip
ELSEWHERE = (
    "the bin", "the shelf", "the floor", "the drawer", "the table", "the edge of the table", "the left", "the right",
    "my hand", "the corner", "the box", "the bag", "the tray", "the chair", "the window", "the back", "the front",
    "the wall", "the bowl", "the other table", "the kitchen", "me", "the left side", "the right side", "the trash",
    "the robot's base",
)  # fmt: skip
ON = ("on", "on", "on top of", "onto", "upon", "over")
ONTO = ("onto", "on", "to")
BESIDE = (
    "next to", "beside", "behind", "in front of", "left of", "right of", "to the left of", "to the right of", "under",
    "near", "below", "close to", "between the wall and", "into", "inside", "against", "away from", "far from",
    "around", "underneath",
)  # fmt: skip
