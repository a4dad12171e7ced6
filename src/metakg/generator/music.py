"""The record collection: artists with a home genre, tracks that come out together; the shape of Last-FM's graph.

In that graph a recording lies on several releases (album, single, compilation), more than a quarter of the recordings were
never played by anybody, and one kind of recording is a hub that nearly all of them share.
"""

from __future__ import annotations

from metakg.generator.grammar import Grammar, plain
from metakg.generator.schema import WORK, Domain, Kind, Relation
from metakg.generator.words import (
    ANIMALS,
    BIRDS,
    CITIES,
    FIRST_NAMES,
    FLOWERS,
    LAST_NAMES,
    MONTHS,
    NUMBERS,
    PEOPLE,
    STREETS,
    listed,
)

ROCK, ELECTRONIC, FOLK, JAZZ, HIPHOP, SOUL, METAL, POP = (
    "Rock",
    "Electronic",
    "Folk",
    "Jazz",
    "Hip-hop",
    "Soul and funk",
    "Metal",
    "Pop",
)

STYLES = {
    ROCK: listed("Indie rock, Garage rock, Dream pop, Post-punk, Psychedelic rock, Surf rock, Math rock, Shoegaze"),
    ELECTRONIC: listed("House, Ambient, Techno, Synthwave, Drum and bass, Downtempo, Trip hop, Dub techno"),
    FOLK: listed("Indie folk, Bluegrass, Celtic folk, Americana, Sea shanties, Psych folk, Country, Klezmer"),
    JAZZ: listed("Hard bop, Cool jazz, Jazz fusion, Swing, Latin jazz, Free jazz, Vocal jazz, Ethio-jazz"),
    HIPHOP: listed("Boom bap, Jazz rap, Cloud rap, Grime, Spoken word, Instrumental hip-hop, Southern hip-hop, Turntablism"),
    SOUL: listed("Neo soul, Deep funk, Gospel, Northern soul, Disco, Rhythm and blues, Afrobeat, Reggae"),
    METAL: listed(
        "Doom metal, Black metal, Folk metal, Power metal, Sludge metal, Thrash metal, Progressive metal, Post-metal"
    ),
    POP: listed("Synth-pop, Chamber pop, City pop, Bedroom pop, Power pop, Yacht rock, Art pop, Electropop"),
}

_PLACES = {"city": CITIES, "street": STREETS}
_PEOPLE = {"first": FIRST_NAMES, "last": LAST_NAMES}


def _lists(**lists: str) -> dict[str, tuple[str, ...]]:
    return {name: listed(text) for name, text in lists.items()}


_ROCK = _lists(
    adj="""Paper, Neon, Broken, Electric, Velvet, Faded, Restless, Silver, Hollow, Plastic, Sleepwalking, Crooked, Lucky,
        Burning, Slow, Radio, Cardboard, Distant, Backwards, Sunday""",
    noun="""Hearts, Satellites, Matches, Summer, Engine, Parade, Horses, Tomorrow, Thunder, Ceiling, Static, Carousel,
        Lightning, Postcards, Swimming Pool, Avalanche, Motel, Windows, Fireworks, Machine""",
    verb="Running, Waiting, Falling, Driving, Dreaming, Drowning, Shouting, Sleeping, Dancing, Burning",
    time="Midnight, Noon, Four in the Morning, the End of the World, Closing Time, the Speed of Light, Half Past Never",
)
_TITLES = {
    ROCK: Grammar(
        {
            "{adj} {noun}": 4,
            "{verb} on {street}": 2,
            "{verb} at {time}": 1,
            "{first}, Come Home": 0.5,
            "{noun} in {city}": 2,
            "Everybody Knows {first}": 0.5,
            "{adj} {noun} in {month}": 2,
            "{verb} Through {adj} {noun}": 2,
            "{adj} {noun} on {street}": 1,
        },
        _ROCK | _PLACES | _PEOPLE | {"month": MONTHS},
    ),
    ELECTRONIC: Grammar(
        {
            "{adj} {noun}": 4,
            "{noun} {number}": 2,
            "{city} {hour}": 2,
            "{adj} {noun} ({mix})": 2,
            "{noun} for {noun2}": 1,
            "{city} {noun}": 2,
            "{adj} {noun} over {city}": 1,
        },
        _lists(
            adj="""Lunar, Liquid, Analogue, Infinite, Magnetic, Subtle, Glass, Phantom, Circular, Weightless, Chrome,
                Violet, Digital, Polar, Granular, Subterranean, Static, Crystalline""",
            noun="""Drift, Signal, Circuits, Horizon, Pulse, Architecture, Sequence, Tides, Motion, Voltage, Vapour,
                Reflections, Orbit, Frequency, Terminal, Cascade, Garden, Memory, Lattice, Aurora""",
            hour="at Dawn, 3 a.m., After Hours, by Night, Underground, in Transit, Nocturne, Afterglow",
            mix="Sunrise Mix, Dub, Extended, Reprise, Night Version, Tape Edit, Beatless",
        )
        | {"number": tuple(str(n) for n in range(1, 100)), "city": CITIES},
    ),
    FOLK: Grammar(
        {
            "The {trade}'s {thing}": 3,
            "{adj} {river}": 2,
            "The Ballad of {first} {last}": 2,
            "Down by the {place}": 0.5,
            "{flower} in {month}": 2,
            "The {bird} and the {animal}": 1.5,
            "Farewell to {city}": 1,
            "{first} of the {place}": 1.5,
            "The {adj} Road to {city}": 2,
            "{first} and the {trade}": 1.5,
        },
        _lists(
            trade="""Miller, Sailor, Weaver, Shepherd, Fiddler, Ferryman, Blacksmith, Drover, Collier, Fisherman,
                Ploughman, Tinker, Harvester, Lamplighter""",
            thing="""Daughter, Lament, Waltz, Lantern, Boat, Promise, Return, Reel, Farewell, Song, Wedding, Lullaby,
                Wager, Winter""",
            adj="Long, Winding, Lonesome, Green, Cold, Weary, Gentle, Stony, Silver, Autumn, Muddy, Wild",
            river="River, Valley, Water, Harbour, Shore, Mountain, Meadow, Rain, Homecoming, Morning, Hill, Wind",
            place="Harbour, Old Mill, Low Meadows, Railway, Ferry, High Hills, Salt Marsh, Chapel, Orchard, Border",
        )
        | _PEOPLE
        | {"flower": FLOWERS, "month": MONTHS, "bird": BIRDS, "animal": ANIMALS, "city": CITIES},
    ),
    JAZZ: Grammar(
        {
            "Blues for {first}": 2,
            "{city} After Midnight": 1,
            "{street} {dance}": 3,
            "{first}'s {dance}": 3,
            "{adj} {dance}": 1,
            "A {hour} in {city}": 2,
            "{last} Changes": 1,
            "So Long, {first}": 1,
            "{number} Minutes to {city}": 2,
            "{month} in {city}": 2,
            "{adj} {dance} for {first}": 1.5,
            "{dance} for {first} {last}": 1.5,
        },
        _lists(
            dance="Stomp, Waltz, Blues, Shuffle, Lullaby, Mood, Bounce, Rag, Serenade, Strut, Dilemma, Riddle, Nocturne",
            adj="Crooked, Midnight, Azure, Unhurried, Smoky, Sideways, Velvet, Five-Four, Rainy, Borrowed",
            hour="Night, Sunday, Evening, Rainy Day, Late Train, Long Weekend, Quiet Morning",
        )
        | _PEOPLE
        | _PLACES
        | {"number": NUMBERS, "month": MONTHS},
    ),
    HIPHOP: Grammar(
        {
            "{thing} on {street}": 3,
            "{adj} {thing}": 3,
            "{city} {kind}": 2,
            "{first}'s {kind}": 2,
            "No {thing}": 1,
            "{number} {thing}": 2,
            "{verb} the {thing}": 2,
            "{adj} {thing} on {street}": 1,
        },
        _lists(
            thing="""Receipts, Sirens, Crowns, Rooftops, Blueprints, Late Fees, Pigeons, Corner Stores, Headlines,
                Sneakers, Chess Moves, Subways, Cassettes, Streetlights, Notebooks, Overtime, Barbershops, Bus Stops,
                Sunday Dinners, Metaphors""",
            adj="""Gold, Heavy, Loose, Borrowed, Concrete, Unsigned, Handwritten, Midnight, Uptown, Quiet, Second-Hand,
                Southside""",
            kind="Freestyle, Cypher, Interlude, Theory, Chronicle, Manners, State of Mind, Skit, Testimony, Minutes",
            verb="Count, Keep, Remember, Flip, Bless, Never Mind, Rewind, Mind, Pass, Respect",
        )
        | _PLACES
        | _PEOPLE
        | {"number": NUMBERS},
    ),
    SOUL: Grammar(
        {
            "{verb} Me {how}": 2.5,
            "{adj} {thing}": 3,
            "Sweet {first}": 1,
            "{thing} in {city}": 2,
            "Come Back to {street}": 1,
            "{first}, You're My {thing}": 3,
            "Ain't No {thing} on {street}": 2,
            "{first}, You're My {adj} {thing}": 1,
            "{verb} Me {how}, {first}": 1.5,
        },
        _lists(
            verb="Hold, Lift, Carry, Call, Take, Love, Bring, Shake, Move, Thank, Need, Turn",
            how="""Higher, Slowly, Home, Around, Right, Tonight, Back, Gently, One More Time, Like You Used To, to the
                Light, by the Hand, in the Rain, Over""",
            adj="Golden, Honey, Sugar, Heavy, Brand New, Tender, Righteous, Midnight, Sunday, Sweet, Everyday, Understanding",
            thing="""Fever, Love, Feeling, Rhythm, Sunshine, Devotion, Groove, Salvation, Heartache, Kindness, Morning,
                Temptation, Thunder, Joy, Medicine, Satisfaction""",
        )
        | _PEOPLE
        | _PLACES,
    ),
    METAL: Grammar(
        {
            "{noun} of the {adj} {being}": 4,
            "{adj} {noun}": 2,
            "Beneath the {adj} {noun}": 2,
            "The {being} of {place}": 2,
            "{verb} the {being}": 1,
            "{noun} and {noun2} of the {adj} {being}": 1,
        },
        _lists(
            noun="""Throne, Ashes, Altar, Cathedral, Sword, Winter, Oath, Tomb, Shadow, Crown, Monolith, Wrath, Eclipse,
                Tempest, Ruin, Procession""",
            adj="""Frozen, Eternal, Burning, Forsaken, Blackened, Sunken, Iron, Nameless, Bloodless, Ancient, Hollow,
                Starless, Howling, Last, Buried, Colossal""",
            being="""King, Serpent, Wolf, Giant, Witch, Raven, Leviathan, Mountain, Prophet, Titan, Pilgrim, Moon, Forest,
                Executioner, Hermit""",
            place="""Ymirdal, Carcosa Road, the Northern Wastes, Blackmere, Thulegard, the Drowned Fjord, Grimmshollow,
                Mount Sorrow""",
            verb="Awaken, Bury, Summon, Follow, Behold, Defy, Crown, Unchain",
        ),
    ),
    POP: Grammar(
        {
            "{adj} {noun}": 3,
            "{verb} You in {city}": 2.5,
            "{first} on the {device}": 2,
            "{time} {noun}": 1.5,
            "{city} Weekend": 0.7,
            "Not Your {noun}": 0.6,
            "{verb} {first}": 2.5,
            "{adj} {noun} ({aside})": 2.5,
            "{first} and {first2} on the {device}": 1.5,
            "{verb} {first} in {city}": 1,
        },
        _lists(
            adj="""Cherry, Electric, Perfect, Pink, Secret, Sugar-Coated, Lucky, Starry, Lemonade, Imaginary, Summer,
                Sparkling, Diamond, Tiny, Cinema""",
            noun="""Crush, Sky, Kisses, Telephone, Daydream, Heartbeat, Weekend, Confetti, Sunglasses, Goodbye, Holiday,
                Balloons, Perfume, Mirrorball, Butterflies, Elevator""",
            verb="Missing, Calling, Kissing, Forgetting, Dreaming of, Waiting for, Texting, Losing, Finding, Thinking of",
            device="Telephone, Radio, Dance Floor, Balcony, Night Bus, Answering Machine, Moon, Guest List, Ferris Wheel",
            time="Friday, Midnight, Tuesday, Saturday Night, Last Summer's, Tomorrow's, 4 a.m.",
            aside="Oh No, Tonight, Call Me, You and I, Again, La La La, Don't Stop, Say Yes",
        )
        | {"city": CITIES, "first": FIRST_NAMES},
    ),
}

_RELEASES = Grammar(
    {
        "The {adj} {thing}": 2,
        "{thing} & {thing2}": 1,
        "Songs from {street}": 2,
        "Live at the {venue}, {city}": 2,
        "{city} Sessions": 0.3,
        "{thing} for {listener}": 2,
        "{adj} {thing}, {adj2} {thing2}": 2,
        "The {street} Tapes": 1.5,
        "Postcards from {city}": 0.3,
        "{first}": 0.2,
        "{adj} {thing} on {street}": 1,
        "The {thing} of {first} {last}": 2,
    },
    _lists(
        adj="""Quiet, Second, Golden, Wandering, Unfinished, Brighter, Heavy, Tender, Northern, Strange, Minor, Familiar,
            Sleepless, Open, Crooked, Remarkable, Patient, Coastal, Lost, Everyday""",
        thing="""Weather, Rooms, Machinery, Gardens, Maps, Lanterns, Arguments, Distance, Animals, Furniture, Gravity,
            Neighbourhoods, Miracles, Harvest, Telescopes, Tides, Daylight, Kitchens, Wilderness, Voices, Alphabet,
            Birthdays, Ladders, Bicycles""",
        listener="""Insomniacs, Beginners, Lovers, Strangers, the Night Shift, Small Towns, Rainy Days, Pilots, Old
            Friends, Sleepwalkers, Grown-Ups, the Long Way Home""",
        venue="""Paramount, Blue Room, Lighthouse, Old Chapel, Starlight, Boathouse, Assembly Rooms, Corn Exchange,
            Palace, Union Hall""",
    )
    | _PEOPLE
    | _PLACES,
)

_ARTISTS = Grammar(
    {
        "The {adj} {plural}": 4,
        "{first} {last}": 3,
        "{adj} {singular}": 2,
        "{first} & the {plural}": 2,
        "{city} {collective}": 0.8,
        "{noun} and {noun2}": 0.8,
        "{last} Quartet": 0.3,
        "{first} and {first2}": 1,
        "{first} {last} & the {plural}": 1,
    },
    _lists(
        adj="""Velvet, Paper, Midnight, Silver, Electric, Wandering, Northern, Polite, Invisible, Lucky, Copper, Lonesome,
            Modern, Accidental, Second, Gentle, Royal, Plastic, Amber, Secret, Sleepy, Marble""",
        plural="""Harbours, Lanterns, Foxes, Sisters, Machines, Ramblers, Pilots, Orchards, Gamblers, Satellites, Wolves,
            Brothers, Strangers, Parasols, Comets, Postmen, Swimmers, Magpies, Engines, Tigers, Astronauts, Tailors""",
        singular="""Harbour, Lantern, Parade, Engine, Orchard, Avenue, Monsoon, Society, Theatre, Atlas, Compass, Motel,
            Aquarium, Cartel, Winter, Tiger, Ceremony""",
        collective="Social Club, Orchestra, Sound System, Collective, All Stars, Trio, Transit Authority, Radio",
        noun="""Ivory, Oak, Salt, Honey, Smoke, Wool, Thunder, Linen, Juniper, Gravel, Marigold, Cedar, Brine, Tinsel,
            Slate, Clover""",
    )
    | _PEOPLE
    | {"city": CITIES},
)


DOMAIN = Domain(
    name="music",
    work="track",
    title=_TITLES,
    styles=STYLES,
    style="genre",
    creator="artist",
    collection="release",
    unlisted="recording",
    kinds=(
        Kind("recording", _TITLES, 0.37, least=0),
        Kind("artist", _ARTISTS, 0.075, people=True),
        Kind("release", _RELEASES, 0.68),
        Kind("genre", {}, 0.04, most=72, least=2),
        Kind("producer", PEOPLE, 0.054, people=True),
        Kind("engineer", PEOPLE, 0.036, people=True),
        Kind(
            "kind",
            plain(listed("Studio recording, Live recording, Remix, Demo, Acoustic version")),
            0.002,
            most=5,
            least=2,
            ranked=True,
        ),
    ),
    relations=(
        Relation(
            "by_artist", "is played by", WORK, "artist", 1.02, most=1.4, role="creator", taste=4.0, affinity=0.95, skew=0.7
        ),
        Relation("on_release", "is on", WORK, "release", 4.0, most=12, role="collection", taste=2.0, affinity=0.85, skew=0.4),
        Relation("genre", "has the genre", WORK, "genre", 1.05, most=3, role="style", taste=0.4, affinity=0.85),
        Relation("kind_of", "is a kind of", "genre", "genre", 1.0, most=1.0, role="style_parent"),
        Relation("produced_by", "produced by", WORK, "producer", 0.49, most=3, taste=0.7, affinity=0.85),
        Relation("engineered_by", "engineered by", WORK, "engineer", 0.26, most=3, affinity=0.8),
        Relation("recorded_as", "was recorded as", WORK, "kind", 1.0, most=1.0, affinity=0.0, skew=3.5),
        Relation("version_of", "is a version of", WORK, WORK, 0.08, most=1, affinity=0.95),
        Relation("influenced_by", "influenced by", "artist", "artist", 1.5, most=12, affinity=0.8),
    ),
    core=4,
    usual=9,
    in_collection=1.0,
    loyalty=0.95,
    release="together",
    binge="creator",
    burst=8.0,
    burst_gap_s=270.0,
    clicks_per_taste=10.0,
)
