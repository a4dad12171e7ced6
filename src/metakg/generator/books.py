"""The bookshop: eight families of genres, authors with a home genre, series that come out volume by volume."""

from __future__ import annotations

from metakg.generator.grammar import Grammar, plain
from metakg.generator.schema import WORK, Domain, Kind, Relation
from metakg.generator.words import (
    ANIMALS,
    BIRDS,
    CITIES,
    FIRST_NAMES,
    FLOWERS,
    HOUSES,
    LAST_NAMES,
    MONTHS,
    NUMBERS,
    PEOPLE,
    STREETS,
    TOWNS,
    TREES,
    listed,
)

CRIME, FANTASY, SPACE, LOVE, PAST, GHOSTS, LIFE, NATURE = (
    "Crime",
    "Fantasy",
    "Science fiction",
    "Romance",
    "Historical fiction",
    "Gothic and horror",
    "Literary fiction",
    "Nature and travel",
)

STYLES = {
    CRIME: listed("""Nordic noir, Cosy mystery, Police procedural, Courtroom thriller, Heist caper, Locked-room mystery,
        Spy story, Small-town suspense"""),
    FANTASY: listed("""Epic fantasy, Urban fantasy, Fairy-tale retelling, Sword and sorcery, Magical academy, Gaslamp
        fantasy, Mythic fantasy, Cosy fantasy"""),
    SPACE: listed("""Space opera, Cyberpunk, First contact, Time travel, Solarpunk, Generation-ship story, Robot story,
        Alternate history"""),
    LOVE: listed("""Regency romance, Second-chance romance, Seaside romance, Workplace romance, Winter romance, Rivals to
        lovers, Small-town romance, Slow-burn romance"""),
    PAST: listed("""Tudor court novel, Wartime saga, Victorian novel, Age of sail, Silk Road adventure, Medieval
        chronicle, Jazz Age novel, Frontier story"""),
    GHOSTS: listed("""Ghost story, Haunted-house novel, Southern gothic, Folk horror, Vampire tale, Cosmic horror, Dark
        academia, Weird fiction"""),
    LIFE: listed("""Family saga, Coming of age, Campus novel, Magic realism, Island novel, Short stories, Epistolary
        novel, Road novel"""),
    NATURE: listed("""Nature writing, Travel memoir, Mountaineering, Garden writing, Food memoir, Popular science, Walking
        book, Seafaring account"""),
}

# --- titles -------------------------------------------------------------------------------------------------------------------

STARS = listed("""
Vega, Altair, Proxima, Callisto, Ganymede, Europa, Titan, Ceres, Rigel, Antares, Deneb, Tau Ceti, Enceladus, Triton,
Oberon, Miranda, Vesta, Procyon, Arcturus, Mimas, Bellatrix, Hyperion Station, Pallas, Capella, Polaris, Tethys, Kepler's
Rest, New Corinth, Aldebaran
""")

_CRIME = Grammar(
    {
        "The {adj} {person}": 3,
        "The {adj} {thing}": 3,
        "The {person}'s {thing}": 3,
        "What the {person} Saw": 1,
        "Murder at {house}": 1.5,
        "Death Comes to {town}": 1,
        "A Body in the {room}": 0.5,
        "Last Train to {town}": 1,
        "The {town} {affair}": 1.5,
        "A {thing} for the {person}": 1.5,
        "One {thing} Too Many": 0.5,
        "Nobody Trusts the {person}": 0.6,
        "The {adj} {person} of {town}": 0.6,
        "{count} {adj} {persons}": 0.8,
    },
    {
        "adj": listed("""Silent, Vanishing, Borrowed, Frozen, Reluctant, Second, Missing, Forgotten, Crooked, Patient,
            Perfect, Unlikely, Counterfeit, Sleepless, Stolen, Invisible, Careless, Faithful, Nameless, Untidy, Polite,
            Accidental, Absent, Restless, Honest, Inconvenient"""),
        "person": listed("""Witness, Juror, Informant, Locksmith, Ferryman, Passenger, Lodger, Forger, Coroner, Neighbour,
            Postmistress, Poisoner, Gardener, Suspect, Widow, Caretaker, Pianist, Bookkeeper, Beekeeper, Governess,
            Magistrate, Stationmaster, Archivist, Chauffeur, Lamplighter, Vicar, Auctioneer, Nightwatchman"""),
        "persons": listed("""Witnesses, Jurors, Informants, Passengers, Lodgers, Neighbours, Suspects, Widows, Guests,
            Aunts, Burglars, Strangers, Cousins, Locksmiths"""),
        "thing": listed("""Alibi, Confession, Verdict, Inheritance, Photograph, Ledger, Motive, Cipher, Telegram,
            Envelope, Timetable, Fingerprint, Footprint, Masquerade, Candlestick, Diary, Postcard, Bargain, Ransom,
            Teacup, Umbrella, Testament"""),
        "room": listed("""Conservatory, Orangery, Organ Loft, Boathouse, Wine Cellar, Reading Room, Belfry, Ballroom,
            Cloakroom, Dovecote, Kitchen Garden, Sleeping Car, Signal Box, Vestry"""),
        "affair": listed("Affair, Papers, Murders, Inheritance, Enquiry, Alibi, Poisonings, Conspiracy, Silence, Ransom"),
        "count": NUMBERS,
        "house": HOUSES,
        "town": TOWNS,
    },
)

_FANTASY_WORDS = {
    "adj": listed("""Copper, Ivory, Ashen, Amber, Moonlit, Broken, Hidden, Sapphire, Obsidian, Silver, Hollow, Starlit,
        Iron, Gilded, Emerald, Drowned, Sleeping, Wandering, Crimson, Unwritten, Clockwork, Nameless, Winter, Midsummer"""),
    "thing": listed("""Throne, Crown, Tower, Gate, Compass, Lantern, Blade, Harp, Mirror, Key, Bridge, Forest, Kingdom,
        Library, Orchard, Map, Oath, Road, Citadel, Well, Loom, Door, Sea, Bell, Spire"""),
    "person": listed("""Witch, Dragon, Falconer, Mapmaker, Bellringer, Weaver, Oracle, Shepherd, Thief, Alchemist,
        Herbalist, Giant, Sorcerer, Wolf, Candlemaker, Stormcaller, Goblin, Swordsmith, Apprentice, Unicorn Keeper,
        Librarian, Tinker"""),
    "of": listed("""Ash, Embers, Ravens, Salt, Starlight, Thorns, Rivers, Bone, Feathers, Frost, Glass, Nettles, Smoke,
        Honey, Riddles, Wolves, Tides, Moths, Gold, Ruin, Storms, Whispers"""),
    "child": listed("Daughter, Heir, Keeper, Children, Queen, Singer, Servant, Prince, Sisters, Knight, Cartographer"),
    "land": listed("""Eldermoor, Varrowen, Ysmere, Caldria, the Seven Fells, Thornreach, Orrowin, the Amber Coast,
        Hollowdeep, Merrowmark, the Drowned Isles, Kestrelfall, Winterhold, the Low Kingdoms, Aldenfey, Brindlewood"""),
}
_FANTASY = Grammar(
    {
        "The {adj} {thing}": 3,
        "A {thing} of {of}": 3,
        "The {person}'s {thing}": 2.5,
        "{child} of {of}": 2.5,
        "The {adj} {person}": 2,
        "The {person} and the {person2}": 1.5,
        "{of} and {of2}": 1,
        "The {thing} Beyond {land}": 1,
        "The Last {person} of {land}": 1.5,
        "A {person} in {land}": 0.8,
        "The {person} of the {adj} {thing}": 1,
        "The {adj} {thing} of {land}": 0.8,
        "A {thing} of {of} and {of2}": 1.5,
        "The {person}, the {person2} and the {adj} {thing}": 0.3,
    },
    _FANTASY_WORDS,
)

_SPACE = Grammar(
    {
        "The {adj} {thing}": 3,
        "A {thing} for {star}": 1.5,
        "The {person} of {star}": 1.5,
        "Beyond {star}": 0.4,
        "{count} Days to {star}": 1,
        "The Last {person} on {star}": 1.5,
        "Letters from {star}": 0.4,
        "The {person}'s {thing}": 2.5,
        "Winter on {star}": 0.4,
        "The {star} {thing}": 2,
        "We Who Left {star}": 0.3,
        "The {adj} {person}": 1.5,
        "All the {plural} of {star}": 1.5,
        "A {adj} {thing} over {star}": 1,
        "How to Repair a {thing}": 0.4,
        "The {last} {thing}": 1.5,
        "The {person} and the {adj} {thing}": 0.5,
        "The {adj} {thing} of {star}": 0.5,
    },
    {
        "adj": listed("""Orbital, Silent, Recursive, Distant, Luminous, Borrowed, Synthetic, Infinite, Parallel, Second,
            Quantum, Drifting, Forgotten, Electric, Magnetic, Uncrewed, Solar, Improbable, Patient, Self-Taught,
            Weightless, Salvaged"""),
        "thing": listed("""Garden, Signal, Archive, Machine, Horizon, Paradox, Colony, Equation, Orbit, Beacon, Engine,
            Lighthouse, Harvest, Observatory, Migration, Algorithm, Greenhouse, Elevator, Embassy, Arboretum, Cathedral,
            Census"""),
        "person": listed("""Mapmaker, Engineer, Archivist, Android, Pilot, Botanist, Navigator, Stowaway, Astronomer,
            Linguist, Clockmaker, Terraformer, Translator, Ambassador, Mechanic, Gardener, Beekeeper, Physicist,
            Lamplighter, Salvager"""),
        "plural": listed("""Rivers, Lanterns, Children, Gardens, Ghosts, Machines, Clocks, Oceans, Languages, Satellites,
            Orchards, Kitchens, Sparrows, Bells"""),
        "count": NUMBERS,
        "star": STARS,
        "last": LAST_NAMES,
    },
)

_LOVE = Grammar(
    {
        "Meet Me in {city}": 1.5,
        "One {season} in {city}": 1.5,
        "The {job}'s {adj} {step}": 2.5,
        "Love and {treat}": 1,
        "The {adj} {step}": 2,
        "A {season} Wedding in {town}": 1.5,
        "Falling for the {job}": 1,
        "The {shop} on {street}": 3,
        "Return to {town}": 1,
        "The {job} Next Door": 1,
        "{treat} for {count}": 0.8,
        "Always the {job}": 0.6,
        "{season} at the {town} {shop}": 1.5,
        "Dear {first}, Love {first2}": 1.5,
        "The {job} and the {job2}": 1.5,
        "Kiss Me in {month}": 0.5,
    },
    {
        "adj": listed("""Accidental, Second, Perfect, Improbable, Convenient, Secret, Practically Perfect, Impossible,
            Last-Minute, Unexpected, Reluctant, Scandalous, Moonlit, Well-Kept, Ill-Advised"""),
        "step": listed("""Proposal, Promise, Courtship, Engagement, Arrangement, Love Letter, Waltz, Confession,
            Honeymoon, Invitation, First Date, Apology, Elopement, Valentine"""),
        "job": listed("""Baker, Florist, Architect, Vet, Violinist, Innkeeper, Librarian, Chef, Lifeguard, Potter,
            Bookseller, Duke, Photographer, Carpenter, Cheesemaker, Tailor, Pilot, Gardener, Cellist, Vintner, Ferryman,
            Viscount"""),
        "shop": listed("""Bakery, Bookshop, Tearoom, Flower Shop, Picture House, Chocolate Shop, Boarding House,
            Gelateria, Sewing Room, Dance Hall, Village Hall, Boathouse, Guest House, Cheese Shop, Repair Shop, Post
            Office"""),
        "treat": listed("""Lemon Cake, Strawberries, Cinnamon Buns, Peach Jam, Earl Grey, Champagne, Gingerbread, Plum
            Wine, Apricots, Hot Chocolate, Cardamom Rolls, Rhubarb Pie, Salted Caramel"""),
        "season": listed("Spring, Summer, Autumn, Winter, Christmas, Midsummer"),
        "count": listed("Two, Three, One, Breakfast, the Bride, Beginners, a Rainy Day"),
        "city": CITIES,
        "town": TOWNS,
        "street": STREETS,
        "first": FIRST_NAMES,
        "month": MONTHS,
    },
)

_TRADES = listed("""
Glassblower, Cartographer, Silk Merchant, Clockmaker, Physician, Bookbinder, Lacemaker, Bell Founder, Spice Trader,
Midwife, Printer, Falconer, Shipwright, Goldsmith, Perfumer, Apothecary, Blacksmith, Ropemaker, Illuminator, Tailor,
Signalman, Seamstress
""")
_KIN = listed("Daughter, Apprentice, Wife, Son, Widow, Sister, Granddaughter, Secret, Rival, Promise, Journey, War")
_YEARS = tuple(str(year) for year in range(1487, 1941))
_PAST = Grammar(
    {
        "The {trade}'s {kin}": 4,
        "The {trade} of {city}": 3,
        "The Road to {city}": 1,
        "The {season} of {year}": 2,
        "Under the {bells} of {city}": 1.5,
        "Letters to {city}": 0.8,
        "The {adj} {ship}": 2,
        "The {kin} of {house}": 1.5,
        "A {trade} at {house}": 1,
        "The {trade} and the {noble}": 1.5,
        "{city}, {year}": 1,
        "The {adj} {noble}": 1.5,
        "Three {seasons} at {house}": 0.8,
    },
    {
        "trade": _TRADES,
        "kin": _KIN,
        "year": _YEARS,
        "season": listed("Winter, Summer, Spring, Autumn, Long Winter, Dry Summer, Harvest, Great Frost, Last Summer"),
        "seasons": listed("Winters, Summers, Springs, Harvests"),
        "bells": listed("Bells, Bridges, Roofs, Chimneys, Lindens, Balconies, Plane Trees, Towers"),
        "adj": listed("""Crimson, Winter, Exiled, Faithful, Scarlet, Wayward, Loyal, Weathered, Salt-Stained, Homeward,
            Northern, Painted, Defiant, Last"""),
        "ship": listed(
            "Schooner, Galleon, Fleet, Frigate, Standard, Regiment, Caravan, Harvest, Lighthouse, Frontier, Tapestry"
        ),
        "noble": listed("Queen, Earl, Regent, Duchess, Bishop, Emperor, Ambassador, Governor, Countess, Admiral, Infanta, Spy"),
        "city": CITIES,
        "house": HOUSES,
    },
)

_GHOSTS = Grammar(
    {
        "The House at {town}": 1,
        "The {adj} {thing}": 3,
        "What Waits in the {room}": 1,
        "The {thing} Beneath {town}": 2,
        "The {adj} {plural}": 2.5,
        "The Ghosts of {house}": 1,
        "A {thing} for the Dead": 1,
        "Do Not Wake the {person}": 1,
        "The {town} {event}": 2,
        "Something in the {room}": 0.8,
        "The {person} of {house}": 2,
        "The {person}'s {thing}": 2,
        "We Buried the {thing}": 0.6,
        "{house} After Dark": 0.8,
        "{plural} in the {room}": 1,
        "The {adj} {plural} of {house}": 1,
    },
    {
        "adj": listed("""Pale, Hungry, Whispering, Withered, Moonless, Weeping, Sunken, Breathless, Thirteenth, Crooked,
            Rotting, Sleepless, Bloodless, Grey, Patient, Listening, Uninvited, Black"""),
        "thing": listed("""Chapel, Mirror, Portrait, Cradle, Music Box, Orchard, Lullaby, Staircase, Candle, Hymn, Well,
            Dollhouse, Séance, Harvest, Bell, Wedding Dress, Nursery, Lantern"""),
        "plural": listed("""Hours, Roses, Children, Windows, Sisters, Scholars, Voices, Teeth, Moths, Neighbours, Saints,
            Hands, Guests, Ravens, Footsteps"""),
        "person": listed("""Bride, Gravedigger, Governess, Sexton, Organist, Scarecrow, Undertaker, Widow, Mesmerist,
            Caretaker, Choirboy, Taxidermist, Lighthouse Keeper, Drowned Man, Bone Collector"""),
        "room": listed("""Attic, Cellar, Crypt, Reeds, Walled Garden, Marsh, Library, Nursery, Ice House, Hedgerow, East
            Wing, Bell Tower, Cornfield, Fog"""),
        "event": listed("Haunting, Curse, Séance, Vigil, Visitations, Burial, Silence, Harvest, Disappearances, Rites"),
        "house": HOUSES,
        "town": TOWNS,
    },
)

_LIFE = Grammar(
    {
        "The {adj} {noun}": 3,
        "A Short History of {abstract}": 1,
        "An Inventory of {abstract}": 0.6,
        "How to {verb} a {noun}": 1.5,
        "The Weather in {city}": 1,
        "Notes on {abstract}": 0.8,
        "All Our {adj} {plural}": 1.5,
        "The {noun} and Other Stories": 1,
        "What We {verbed} in {city}": 1.5,
        "A Year of {adj} {plural}": 1.5,
        "The {last} {family}": 2,
        "{first} Among the {plural}": 1.5,
        "The Education of {first} {last}": 1.2,
        "{plural} and {plural2}": 1,
        "{city} Is Not Far": 0.8,
        "The {noun} on {street}": 1,
    },
    {
        "adj": listed("""Ordinary, Unfinished, Small, Borrowed, Generous, Late, Wrong, Tender, Unsent, Careful, Inherited,
            Half-Remembered, Loose, Lasting, Minor, Unreliable, Bright, Portable"""),
        "noun": listed("""Piano, Kitchen, Suitcase, Marriage, Letter, Orchard, Photograph, Goodbye, Summer, Language,
            Bicycle, Argument, Silence, Bridge, Birthday, Window, Recipe, Sofa, Garden, Umbrella"""),
        "plural": listed("""Mothers, Tomorrows, Neighbours, Kindnesses, Weekdays, Distances, Secrets, Brothers, Goodbyes,
            Rooms, Mistakes, Sundays, Apologies, Strangers, Daughters, Oranges"""),
        "abstract": listed("""Tenderness, Waiting, Small Rooms, Leaving, Forgiveness, Luck, Homesickness, Good Manners,
            Rain, Ambition, Silence, Breakfast, Belonging, Doubt"""),
        "verb": listed("Leave, Mend, Forget, Carry, Borrow, Name, Keep, Fold, Rescue, Inherit, Begin, Survive"),
        "verbed": listed("Lost, Found, Sang, Left, Learned, Owed, Planted, Broke, Promised, Wore"),
        "family": listed("Sisters, Brothers, Inheritance, Wedding, Silences, Summers, Marriage, Reunion, Women, Piano"),
        "city": CITIES,
        "street": STREETS,
        "first": FIRST_NAMES,
        "last": LAST_NAMES,
    },
)

_TERRAIN = listed("""
the Fells, the Salt Marsh, the High Moor, the Estuary, the Black Forest, the Western Isles, the Tundra, the Chalk Downs,
the Fens, the Cloud Forest, the Fjords, the Steppe, the Dolomites, the Pine Barrens, the Skerries, the Rift Valley, the
Wadden Sea, the Dunes, the Cairngorms, the Carpathians, the Outback, the Mangroves
""")
_NATURE = Grammar(
    {
        "The {bird} and the {animal}": 2,
        "A Year in {terrain}": 1,
        "{count} Months in {terrain}": 1.5,
        "The Secret Life of the {bird}": 1,
        "The Secret Life of the {animal}": 0.8,
        "In Search of the {adj} {bird}": 2,
        "Notes from {terrain}": 0.8,
        "{adj} {water}": 2,
        "Walking to {city}": 1.5,
        "The {adj} {path}": 2,
        "A {path} Through {terrain}": 1.5,
        "The {bird} at the Window": 0.6,
        "How the {tree} Came to {city}": 1.5,
        "{path} and {water}": 1.2,
        "{dish} in {city}": 1.5,
        "The {month} {path}": 0.8,
        "A {tree} in {terrain}": 1,
        "{adj} {water}, {adj2} {water2}": 1.5,
        "The {bird} of {town}": 0.8,
    },
    {
        "adj": listed("""Northern, Hidden, Slow, Wild, Last, Ancient, Solitary, Untamed, Winter, Restless, Wandering,
            Quiet, Blue, Distant, Stony, Homing"""),
        "water": listed("Tide, Rivers, Shore, Waters, Rain, Island, Harbour, Coast, Wind, Snow, Horizon"),
        "path": listed(
            "Path, Footpath, Hedgerow, Meadow, Orchard, Ridge, Trail, Almanac, Garden, Summit, Crossing, Lighthouse"
        ),
        "dish": listed("""Supper, Bread and Olives, A Bowl of Soup, Sunday Lunch, Breakfast, Salt and Lemons, Learning to
            Cook, Ten Dinners, The Noodle Maker, A Market Stall"""),
        "tree": listed(
            "Apple, Olive, Tulip, Potato, Fig, Oak, Lemon, Rose, Walnut, Tea Leaf, Saffron Crocus, Cherry, Quince, Pear"
        ),
        "count": NUMBERS,
        "terrain": _TERRAIN,
        "bird": BIRDS,
        "animal": ANIMALS,
        "city": CITIES,
        "month": MONTHS,
        "town": TOWNS,
    },
)

# --- series -------------------------------------------------------------------------------------------------------------------

SERIES = {
    CRIME: Grammar(
        {
            "Inspector {last}": 2,
            "The {town} Mysteries": 2,
            "{last} and {last2} Investigate": 1,
            "The {street} Files": 0.7,
            "Detective {first} {last}": 0.5,
        },
        {"first": FIRST_NAMES, "last": LAST_NAMES, "town": TOWNS, "street": STREETS},
    ),
    FANTASY: Grammar(
        {
            "The {adj} {thing} {cycle}": 3,
            "Chronicles of {land}": 0.3,
            "The {person}'s {cycle}": 1,
            "{of} and {of2}: A {cycle}": 0.5,
            "The {person} of {land} {cycle}": 0.5,
        },
        _FANTASY_WORDS | {"cycle": listed("Cycle, Quartet, Trilogy, Saga, Legend")},
    ),
    SPACE: Grammar(
        {
            "The {star} {run}": 3,
            "The {last} {run}": 2,
            "Fleet of {star}": 0.5,
            "The {last} Drive": 0.3,
            "The {first} {last} {run}": 0.3,
        },
        {
            "star": STARS,
            "first": FIRST_NAMES,
            "last": LAST_NAMES,
            "run": listed("Sequence, Accords, Convoy, Protocols, Expeditions, Reckoning, Archive"),
        },
    ),
    LOVE: Grammar(
        {
            "The {last} Sisters": 1,
            "The {last} Brothers": 1,
            "{town} Hearts": 1,
            "Weddings in {town}": 1,
            "Love on {street}": 1,
            "The {last} {kin} of {town}": 0.3,
        },
        {"last": LAST_NAMES, "town": TOWNS, "street": STREETS, "kin": listed("Sisters, Brothers, Cousins, Widows")},
    ),
    PAST: Grammar(
        {
            "The {last} Chronicles": 1,
            "The {trade} Trilogy": 0.3,
            "The {house} Saga": 1,
            "The {last} Inheritance": 1,
            "The {last} Women of {city}": 0.5,
            "A {trade} in {city}": 0.3,
        },
        {"last": LAST_NAMES, "trade": _TRADES, "house": HOUSES, "city": CITIES},
    ),
    GHOSTS: Grammar(
        {
            "The {house} Hauntings": 1,
            "Tales from {town}": 1,
            "The {last} Casebook": 1,
            "The {town} Dead": 1,
            "The {first} {last} Papers": 0.3,
        },
        {"first": FIRST_NAMES, "last": LAST_NAMES, "town": TOWNS, "house": HOUSES},
    ),
    LIFE: Grammar(
        {"The {city} Quartet": 0.6, "The {last} Family": 1, "The {street} Novels": 0.8, "{first} and {first2}": 1},
        {"city": CITIES, "last": LAST_NAMES, "street": STREETS, "first": FIRST_NAMES},
    ),
    NATURE: Grammar(
        {
            "The {town} Notebooks": 1,
            "Wild {town}": 0.5,
            "Letters from {town}": 1,
            "The {bird} Journals": 0.2,
            "{city} on Foot": 0.4,
            "{month} in {town}": 0.5,
        },
        {"town": TOWNS, "bird": BIRDS, "city": CITIES, "month": MONTHS},
    ),
}

# --- what books are about, and where they are set -----------------------------------------------------------------------------


def _closed(**lists: str) -> dict[str, tuple[str, ...]]:
    return {name: listed(text) for name, text in lists.items()}


_THEMES = {
    CRIME: listed("""poison, blackmail, village secrets, art theft, false identities, cold cases, amateur sleuths, old
        schoolfriends, double agents, unreliable narrators, inheritances, missing persons, long-lost twins, crooked
        policemen, trains"""),
    FANTASY: listed("""dragons, chosen family, forbidden magic, talking animals, prophecies, enchanted forests, lost
        kingdoms, shapeshifters, magical libraries, quests, bargains with the fair folk, reluctant heroes, runes, sea
        monsters, clever thieves"""),
    SPACE: listed("""artificial minds, alien languages, terraforming, lost colonies, paradoxes, survival in space, memory
        trading, climate repair, uplifted animals, long sleep, galactic politics, rogue satellites, clones, space
        elevators, first footsteps"""),
    LOVE: listed("""fake engagements, second chances, one bed too few, old letters, weddings, bakeries, single parents,
        childhood sweethearts, grumpy and sunny, holiday flings, matchmakers, masked balls, neighbours, mistaken identity,
        rainy kisses"""),
    PAST: listed("""court intrigue, forbidden love across classes, code breakers, shipwrecks, plague years, nurses at the
        front, silk and spices, women in disguise, lost manuscripts, revolutions, great fires, railways, smugglers, exile,
        medicine before medicine"""),
    GHOSTS: listed("""haunted portraits, secret societies, old gods, grief, cursed heirlooms, empty villages, séances,
        asylum records, twins, things in the walls, blood oaths, the sea at night, missing children, doppelgangers,
        abandoned theatres"""),
    LIFE: listed("""siblings, growing old, emigration, first jobs, divorce, music lessons, unspoken grief, friendship
        between women, fathers and sons, small kindnesses, class, returning home, memory, rivalry, starting over"""),
    NATURE: listed("""lighthouses, birdwatching, slow travel, wild swimming, recipes handed down, rewilding, solitude,
        migrations, mushrooms, bees, rivers, old maps, weather, trees, mountain huts"""),
}
_PLACES = {
    CRIME: listed("""a Cornish fishing village, the Stockholm archipelago, post-war Vienna, a London club, a cathedral
        close, the night train to Istanbul, a Scottish distillery, the docks of Marseille, a boarding school, the Norfolk
        coast"""),
    FANTASY: listed("""a walled city, the northern wastes, a floating market, an underground kingdom, a school for
        witches, the edge of the map, a cloud monastery, a forest that moves, a city of canals, the salt desert"""),
    SPACE: listed("""the rings of Saturn, a generation ship, a flooded Amsterdam, the far side of the Moon, a mining
        asteroid, Neo Nairobi, a Martian greenhouse, an orbital library, a dying red star, the ice of Europa"""),
    LOVE: listed("""a Tuscan vineyard, a snowed-in chalet, the Cotswolds, a Greek island, Regency Bath, a Parisian bakery,
        the Irish coast, a Vermont inn, a canal boat, an Edinburgh bookshop"""),
    PAST: listed("""Tudor London, Jazz Age Paris, the Silk Road, Renaissance Florence, wartime Coventry, the Hanseatic
        ports, Moorish Granada, the Oregon Trail, Edo Japan, the court of Benin"""),
    GHOSTS: listed("""a drowned village, the Louisiana bayou, an abandoned sanatorium, the Yorkshire moors, a remote
        seminary, a salt mine, a ruined abbey, a decaying theatre, the fens in winter, a clifftop asylum"""),
    LIFE: listed("""suburban Dublin, a Lagos apartment block, a Neapolitan courtyard, rural Hokkaido, a Glasgow tenement,
        the Mumbai suburbs, a prairie town, an Oxford college, a Beirut balcony, a Welsh hill farm"""),
    NATURE: listed("""the Hebrides, Patagonia, the Camino, the Danube, the Lake District, the Atlas Mountains, Svalbard,
        the Mekong, the Great Karoo, a walled garden in Kent"""),
}
_ELSEWHERE = {  # where the lists above end
    FANTASY: {"{land}": 1.0, "the {adj} {thing}": 1.0, "the {adj} {thing} of {land}": 1.0},
    SPACE: {"the moons of {star}": 1.0, "a colony on {star}": 1.0, "the {last} station, orbiting {star}": 1.0},
}
_COUNTRY = {
    "the village of {town}": 1.0,
    "{house}": 0.4,
    "the hills above {town}": 0.5,
    "the road to {town}": 0.3,
    "the {spot} at {town}": 0.4,
}
_PLACE_WORDS = {
    "town": TOWNS,
    "house": HOUSES,
    "star": STARS,
    "last": LAST_NAMES,
    "spot": listed("old mill, railway station, vicarage, harbour, school, manor house, market square, lighthouse"),
    **{slot: _FANTASY_WORDS[slot] for slot in ("adj", "thing", "land")},
}

_ROLES = listed("""
Captain, Sister, Doctor, Aunt, Old, Uncle, Lady, Professor, Brother, Nurse, Major, Cousin, Young, Madame, Sergeant,
Father, Mother, Corporal, Miss, Constable
""")
_CHARACTERS = Grammar(
    {
        "{role} {last}": 1.0,
        "{role} {first}": 0.5,
        "{first} {last} of {town}": 0.6,
        "{first} the {trade}": 0.8,
        "{role} {first} {last}": 1.0,
    },
    {"role": _ROLES, "first": FIRST_NAMES, "last": LAST_NAMES, "town": TOWNS, "trade": _TRADES},
)
_PUBLISHERS = Grammar(
    {
        "{bird} & {bird2}": 1,
        "{colour} {thing} {house}": 2,
        "{last} & {last2}": 1,
        "{last} {house}": 1,
        "{tree} {house}": 0.5,
    },
    {
        "bird": BIRDS,
        "colour": listed("Blue, Red, Green, White, Black, Silver, Yellow, Copper"),
        "thing": listed("Door, Lantern, Kettle, Anchor, Window, Acorn, Hare, Bicycle, Harbour, Thimble, Inkwell, Lighthouse"),
        "house": listed("Press, Books, House, Editions"),
        "last": LAST_NAMES,
        "tree": TREES,
    },
)
_AWARDS = Grammar(
    {"The {last} Prize": 2, "The {flower} Medal": 0.5, "The {city} Book Award": 1, "The Golden {animal}": 0.5},
    {"last": LAST_NAMES, "flower": FLOWERS, "city": CITIES, "animal": ANIMALS},
)
_SOCIETIES = Grammar(
    {"The {city} Writers' Circle": 1, "The {street} Group": 1, "The {animal} Society": 0.3},
    {"city": CITIES, "street": STREETS, "animal": ANIMALS},
)
_AGENCIES = Grammar({"{last} Literary Agency": 1, "{last}, {last2} & Daughters": 1}, {"last": LAST_NAMES})

_SMALL = _closed(
    mood="""hopeful, bittersweet, eerie, witty, tense, tender, melancholy, playful, brooding, uplifting, dreamy, sardonic,
        cosy, feverish, quiet, epic, mischievous, wistful, unsettling, warm""",
    era="""antiquity, the early Middle Ages, the high Middle Ages, the Renaissance, the seventeenth century, the
        eighteenth century, the nineteenth century, the 1900s, the 1910s, the 1920s, the 1930s, the 1940s, the 1950s, the
        1960s, the 1970s, the 1980s, the 1990s, the present day, the near future, the far future, out of time""",
    language="""English, French, Spanish, Portuguese, Italian, German, Dutch, Swedish, Norwegian, Danish, Finnish,
        Icelandic, Polish, Czech, Greek, Turkish, Arabic, Hebrew, Persian, Hindi, Bengali, Urdu, Tamil, Japanese, Korean,
        Chinese, Yoruba, Swahili, Welsh, Irish""",
    format="paperback, e-book, hardback, audiobook, large print, pocket edition, illustrated edition, box set, graphic novel",
)


DOMAIN = Domain(
    name="books",
    work="book",
    title={
        CRIME: _CRIME,
        FANTASY: _FANTASY,
        SPACE: _SPACE,
        LOVE: _LOVE,
        PAST: _PAST,
        GHOSTS: _GHOSTS,
        LIFE: _LIFE,
        NATURE: _NATURE,
    },
    styles=STYLES,
    style="genre",
    creator="author",
    collection="series",
    kinds=(
        Kind("author", PEOPLE, 0.20, people=True),
        Kind("series", SERIES, 0.11),
        Kind("genre", {}, 0.06, most=72, least=2),
        Kind("theme", {family: plain(themes) for family, themes in _THEMES.items()}, 0.12, most=120),
        Kind(
            "place",
            {
                family: Grammar({"{place}": 9.0, **_ELSEWHERE.get(family, _COUNTRY)}, {"place": places, **_PLACE_WORDS})
                for family, places in _PLACES.items()
            },
            0.11,
        ),
        Kind("city", plain(CITIES), 0.06, most=len(CITIES)),
        Kind("publisher", _PUBLISHERS, 0.03),
        Kind("award", _AWARDS, 0.02, most=200),
        Kind("character", _CHARACTERS, 1.2),
        Kind("narrator", PEOPLE, 0.05, people=True),
        Kind("translator", PEOPLE, 0.08, people=True),
        Kind("illustrator", PEOPLE, 0.05, people=True),
        Kind("editor", PEOPLE, 0.05, people=True),
        Kind("mood", plain(_SMALL["mood"]), 0.03, most=len(_SMALL["mood"])),
        Kind("era", plain(_SMALL["era"]), 0.03, most=len(_SMALL["era"])),
        Kind("language", plain(_SMALL["language"]), 0.03, most=len(_SMALL["language"]), ranked=True),
        Kind("format", plain(_SMALL["format"]), 0.01, most=len(_SMALL["format"]), ranked=True),
        Kind("society", _SOCIETIES, 0.01, most=250),
        Kind("agency", _AGENCIES, 0.02),
    ),
    relations=(
        Relation("written_by", "written by", WORK, "author", 1.03, most=1.5, role="creator", taste=4.0, affinity=0.95),
        Relation("genre", "has the genre", WORK, "genre", 1.4, most=4, role="style", taste=0.5, affinity=0.85),
        Relation("part_of_series", "is part of", WORK, "series", 0.55, most=0.7, role="collection", taste=3.0, affinity=1.0),
        Relation("series_by", "is a series by", "series", "author", 1.0, most=1.0, role="collection_creator"),
        Relation("kind_of", "is a kind of", "genre", "genre", 1.0, most=1.0, role="style_parent"),
        Relation("set_in", "is set in", WORK, "place", 0.8, most=4, taste=1.0, affinity=0.95, skew=0.5),
        Relation("about", "is about", WORK, "theme", 1.8, most=14, taste=1.5, affinity=0.93, skew=0.4),
        Relation("published_by", "published by", WORK, "publisher", 1.0, most=4, affinity=0.5, skew=0.9),
        Relation("influenced_by", "influenced by", "author", "author", 1.4, most=12, affinity=0.8),
        Relation("born_in", "born in", "author", "city", 1.0, most=1.0, affinity=0.1, skew=0.4),
        Relation("based_in", "based in", "publisher", "city", 1.0, most=2, affinity=0.0, skew=0.8),
        Relation("shortlisted_for", "shortlisted for", WORK, "award", 0.15, most=3, affinity=0.5),
        # from here on: the wider graph of a large catalogue
        Relation("features", "features", WORK, "character", 3.0, most=24, affinity=0.9, skew=0.5),
        Relation("narrated_by", "narrated by", WORK, "narrator", 0.5, most=3, affinity=0.6),
        Relation("translated_by", "translated by", WORK, "translator", 0.6, most=6, affinity=0.3),
        Relation("illustrated_by", "illustrated by", WORK, "illustrator", 0.3, most=3, affinity=0.5),
        Relation("edited_by", "edited by", WORK, "editor", 0.9, most=4, affinity=0.5),
        Relation("feels", "feels", WORK, "mood", 1.5, most=8, affinity=0.5, skew=0.4),
        Relation("takes_place_in", "takes place in", WORK, "era", 1.0, most=5, affinity=0.6, skew=0.8),
        Relation("available_in", "can be read in", WORK, "language", 1.5, most=12, affinity=0.0, skew=1.1),
        Relation("available_as", "is available as", WORK, "format", 2.0, most=6, affinity=0.0, skew=0.8),
        Relation("mentions", "mentions", WORK, "city", 1.0, most=8, affinity=0.2),
        Relation("praised_by", "praised by", WORK, "author", 0.8, most=10, affinity=0.8, skew=0.9),
        Relation("won", "won", WORK, "award", 0.05, most=1, affinity=0.5),
        Relation("nods_to", "nods to", WORK, "series", 0.3, most=5, affinity=0.8),
        Relation("compared_with", "compared with", "author", "author", 1.0, most=12, affinity=0.9),
        Relation("lives_in", "lives in", "author", "city", 1.0, most=2, affinity=0.1, skew=0.6),
        Relation("studied_in", "studied in", "author", "city", 0.6, most=2, affinity=0.1, skew=0.8),
        Relation("known_for", "known for", "author", "genre", 1.0, most=4, affinity=0.8),
        Relation("represented_by", "represented by", "author", "agency", 0.8, most=2, affinity=0.4),
        Relation("member_of", "member of", "author", "society", 0.3, most=3, affinity=0.3),
        Relation("writes_in", "writes in", "author", "language", 1.0, most=3, affinity=0.0, skew=1.2),
        Relation("appears_in", "appears in", "character", "series", 0.6, most=2, affinity=0.95),
        Relation("friend_of", "is a friend of", "character", "character", 0.5, most=6, affinity=0.95),
        Relation("rival_of", "is a rival of", "character", "character", 0.2, most=3, affinity=0.95),
        Relation("comes_from", "comes from", "character", "place", 0.4, most=2, affinity=0.9),
        Relation("series_set_in", "takes us to", "series", "place", 0.6, most=4, affinity=0.9),
        Relation("goes_with", "goes well with", "theme", "theme", 2.0, most=20, affinity=0.7),
        Relation("imprint_of", "is an imprint of", "publisher", "publisher", 0.3, most=1, affinity=0.1, skew=1.0),
    ),
    core=8,
    usual=12,
    in_collection=0.55,
    loyalty=0.92,
    release="serial",
    binge="creator",
    burst=3.0,
    burst_gap_s=9 * 86_400.0,
    clicks_per_taste=9.0,
    home="city",
)
