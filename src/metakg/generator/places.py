"""The city guide: places to go, in streets of neighbourhoods; as wide as Yelp's graph (small attributes, 42 relations)."""

from __future__ import annotations

from metakg.generator.grammar import Grammar, plain
from metakg.generator.schema import WORK, Domain, Kind, Relation
from metakg.generator.words import (
    ANIMALS,
    BIRDS,
    CITIES,
    ESTATES,
    FIRST_NAMES,
    FLOWERS,
    LAST_NAMES,
    PEOPLE,
    STREETS,
    TOWNS,
    listed,
)

CAFE, RESTAURANT, STALL, BAR, DELI, STAY, CULTURE, PLAY = (
    "Cafés and bakeries",
    "Restaurants",
    "Street food",
    "Bars",
    "Delis and markets",
    "Places to stay",
    "Arts and nightlife",
    "Games and play",
)

STYLES = {
    CAFE: listed("Espresso bar, Bakery, Tearoom, Ice cream parlour, Breakfast place, Doughnut shop, Juice bar, Creperie"),
    RESTAURANT: listed("Trattoria, Sushi bar, Taqueria, Bistro, Noodle house, Tapas restaurant, Curry house, Seafood grill"),
    STALL: listed("Dumpling stall, Pizza van, Falafel stand, Chip shop, Burger bar, Soup kitchen, Waffle cart, Kebab grill"),
    BAR: listed("Pub, Cocktail bar, Wine bar, Beer garden, Sports bar, Tiki bar, Whisky bar, Brewery tap"),
    DELI: listed("Cheese counter, Delicatessen, Fishmonger, Farm shop, Food hall, Wine merchant, Chocolate maker, Spice shop"),
    STAY: listed("Coaching inn, Boutique hotel, Guest house, Hostel, Spa hotel, Lakeside lodge, Farm stay, Houseboat"),
    CULTURE: listed("Cinema, Jazz club, Gallery, Theatre, Comedy club, Dance hall, Museum, Concert hall"),
    PLAY: listed("Bowling alley, Board-game café, Karaoke bar, Climbing hall, Mini golf, Arcade, Pool hall, Roller rink"),
}


def _lists(**lists: str) -> dict[str, tuple[str, ...]]:
    return {name: listed(text) for name, text in lists.items()}


# No name gives away a street or a trade: the facts may say otherwise.
_NAMES = {"first": FIRST_NAMES, "last": LAST_NAMES, "street": STREETS, "town": TOWNS, "bird": BIRDS, "flower": FLOWERS}
_ADJECTIVES = listed("""
Copper, Little, Second, Golden, Crooked, Blue, Honest, Lucky, Hungry, Silver, Wild, Green, Rustic, Seventh, Old, Generous,
Velvet, Red, Sleepy, White, Jolly, Curious, Hidden, Painted, Merry, Midnight, Sunny, Laughing, Floating, Quiet
""")
_TITLES = {
    CAFE: Grammar(
        {
            "The {adj} {thing}": 3,
            "{first}'s {house}": 3,
            "{thing} & {thing2}": 1,
            "{last} {house}": 2,
            "{first} & {first2}'s {house}": 0.5,
            "{first} {last}'s {house}": 0.5,
        },
        _lists(
            thing="Kettle, Spoon, Bean, Crumb, Teapot, Whisk, Saucer, Rolling Pin, Grinder, Cup, Oven, Sugar Bowl, Napkin",
            house="Kitchen, Counter, Pantry, Corner, Table, House, Window, Morning Room",
        )
        | _NAMES
        | {"adj": _ADJECTIVES},
    ),
    RESTAURANT: Grammar(
        {
            "The {adj} {thing}": 3,
            "{last} & {kin}": 2,
            "{house} {first}": 2,
            "{house} {last}": 1,
            "{first} and {first2}": 1.5,
            "The {adj} {thing} at {last}'s": 0.3,
            "The {thing} at {last}'s": 1,
        },
        _lists(
            thing="""Olive, Ladle, Fig, Lobster, Pepper Mill, Fork, Wok, Anchovy, Basil Leaf, Artichoke, Chilli, Plate,
                Oyster, Radish""",
            kin="Daughters, Sons, Sisters, Company, Cousins, Nephews",
            house="Casa, Chez, Maison, Villa, Little, Café",
        )
        | _NAMES
        | {"adj": _ADJECTIVES},
    ),
    STALL: Grammar(
        {
            "{adj} {thing}": 3,
            "{first}'s {place}": 3,
            "{last} & {kin}'s {place}": 1,
            "Hello {first}": 0.7,
            "{first} {last}'s {place}": 0.5,
            "{adj} {first}": 1,
        },
        _lists(
            thing="Pan, Napkin, Bite, Skillet, Ladle, Wagon, Onion, Pickle, Griddle, Lunchbox, Flame, Mustard, Tomato",
            place="Van, Cart, Stand, Window, Wagon, Grill, Corner",
            kin="Son, Daughter, Brother, Sister, Cousin",
        )
        | _NAMES
        | {"adj": _ADJECTIVES},
    ),
    BAR: Grammar(
        {
            "The {animal} & {thing}": 3,
            "The {adj} {animal}": 3,
            "{last}'s {bar}": 2,
            "The {bird} & {thing}": 3,
            "The {last} {bar}": 2,
            "The {adj} {animal} & {thing}": 1,
            "The {adj} {bird} & {thing}": 0.5,
        },
        _lists(
            thing="Anchor, Barrel, Crown, Bell, Fiddle, Lantern, Plough, Kettle, Compass, Harp, Wheatsheaf, Cork, Candle",
            bar="Arms, Cellar, Saloon, Lounge, Bodega, Snug, Rooms",
        )
        | _NAMES
        | {"adj": _ADJECTIVES, "animal": ANIMALS},
    ),
    DELI: Grammar(
        {
            "{last} & {kin}": 2,
            "The {adj} {thing}": 3,
            "{first}'s {store}": 3,
            "{last} {store}": 3,
            "{flower} & {bird}": 1,
            "{last}, {last2} & {kin}": 0.5,
        },
        _lists(
            kin="Sons, Daughters, Granddaughters, Partners, Nieces",
            thing="Larder, Basket, Scales, Jar, Cellar, Acorn, Wheel, Barrel, Beehive, Crate, Walnut, Apron, Cabinet",
            store="Larder, Stores, Provisions, Pantry, Fine Foods, Emporium, Counter",
        )
        | _NAMES
        | {"adj": _ADJECTIVES},
    ),
    STAY: Grammar(
        {
            "The {adj} {animal}": 1,
            "{estate} {house}": 1,
            "The {last} {house}": 3,
            "{flower} {house}": 1,
            "{bird} {house}": 1,
            "{town} {house}": 3,
            "The {last} at {town}": 1,
        },
        _lists(house="House, Lodge, Rooms, Rest, Retreat, Landing, Court")
        | _NAMES
        | {"adj": _ADJECTIVES, "animal": ANIMALS, "estate": ESTATES},
    ),
    CULTURE: Grammar(
        {
            "The {adj} {thing}": 3,
            "The {last} {hall}": 3,
            "{town} {hall}": 3,
            "The {thing} at the {last}": 1,
            "{first} {last} {hall}": 1,
        },
        _lists(
            thing="Curtain, Note, Microphone, Easel, Spotlight, Trombone, Projector, Piano, Mask, Balcony, Encore",
            hall="Hall, Rooms, House, Palace, Pavilion, Arts Centre, Foundation",
        )
        | _NAMES
        | {"adj": _ADJECTIVES},
    ),
    PLAY: Grammar(
        {
            "{first}'s {club}": 2,
            "The {adj} {thing}": 3,
            "{last} {club}": 3,
            "{town} {club}": 2,
            "{thing} & {thing2}": 1,
            "{first} {last}'s {club}": 0.5,
        },
        _lists(
            club="Playhouse, Fun House, Social Club, Games, Pleasure Rooms, Hideout, Clubhouse, Playground",
            thing="Dice, Racket, Skate, Token, Ledge, Joystick, Domino, Trophy, Whistle, Marble, Spinning Top, Kite, Cue",
        )
        | _NAMES
        | {"adj": _ADJECTIVES},
    ),
}

_STREET_NAMES = Grammar(
    {"{street}": 3, "{town} Road": 3, "{last} {way}": 4, "{side} {last} {way}": 0.5, "{first} {last} {way}": 0.3},
    _NAMES | _lists(way="Street, Avenue, Road, Lane, Place, Crescent, Drive, Way", side="Upper, Lower, Old, New, North, South"),
)
_NEIGHBOURHOODS = Grammar(
    {
        "{side} {town}": 1,
        "{town}": 0.5,
        "{last} Park": 0.5,
        "{adj} {quarter}": 1,
        "{bird} {quarter}": 0.5,
        "{last} {quarter}": 1,
    },
    _NAMES
    | _lists(
        side="East, West, North, South, Upper, Lower, Old, New",
        adj="Old, Fishermen's, Tanners', Weavers', Cathedral, Clockmakers', Sailors', Garden, University, Glassblowers'",
        quarter="Harbour, Quarter, Wharf, Market, Hill, Docks, Gardens, Green, Heights, Mews, Bank",
    ),
)
_DISHES = Grammar(
    {"{how} {what}": 2, "{what} with {side}": 3, "{how} {what} with {side}": 1, "{how} {what}, {city} Style": 1.5},
    _lists(
        how="Grilled, Slow-Roasted, Spicy, Crispy, Smoked, Braised, Pickled, Charred, Stuffed, Buttered, Honey-Glazed, Steamed",
        what="""Octopus, Aubergine, Lamb, Duck, Dumplings, Noodles, Artichokes, Sea Bass, Cauliflower, Mushrooms, Gnocchi,
            Prawns, Chicken, Mussels, Tofu, Pork Belly, Leeks, Trout, Squash, Flatbread""",
        side="""Saffron, Mint, Lemon, Black Garlic, Figs, Walnuts, Tahini, Chilli Oil, Capers, Pomegranate, Wild Rice,
            Rosemary, Ginger, Fennel, Miso, Brown Butter, Olives, Almonds""",
    )
    | {"city": CITIES},
)
_FARMS = Grammar(
    {"{town} Farm": 1, "{last} {kind}": 2, "{town} {kind}": 2},
    _NAMES | {"kind": listed("Orchards, Dairy, Mill, Fishery, Gardens, Brewery, Roasters")},
)
_LANDMARKS = Grammar(
    {"the {last} {thing}": 2, "the {adj} {thing}": 1, "{town} {thing}": 2},
    _NAMES
    | _lists(
        thing="""Fountain, Clock Tower, Bridge, Monument, Steps, Library, Bandstand, Arch, Observatory, Lighthouse,
            Obelisk, Water Gate""",
        adj="Old, Floating, Crooked, Royal, Iron, Whispering, Twin, Golden",
    ),
)
_STOPS = Grammar(
    {"{street} stop": 2, "{town} Road stop": 2, "{last} {where} stop": 4, "{town} {where} stop": 1},
    _NAMES | _lists(where="Square, Park, Bridge, Gate, Market, Station, Cross"),
)
_EVENTS = Grammar(
    {"{day} {night}": 1, "{adj} {night} {when}": 1},
    _lists(
        day="Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
        night="""Quiz, Open Mic, Salsa, Board Games, Poetry, Jazz Brunch, Film Club, Wine Tasting, Karaoke, Chess, Life
            Drawing, Swing Dance""",
        adj="Beginners', Grand, Monthly, Summer, Midnight, Family",
        when="Night, Evening, Afternoon, Weekender",
    ),
)
_CLOSED = _lists(
    mood="""romantic, lively, hushed, rustic, sleek, homely, glamorous, bohemian, old-fashioned, playful, leafy,
        candlelit, industrial, nautical""",
    occasion="""first dates, birthdays, working alone, business lunches, large families, rainy afternoons, late nights,
        anniversaries, groups of friends, a quick bite, Sunday mornings, watching the match""",
    payment="cards, cash, contactless, cheques, gift vouchers, bank transfer",
    parking="street parking, a car park, no parking, bicycle racks, a garage, valet parking",
    noise="average, quiet, loud, very loud, silent",
    price="moderate, inexpensive, pricey, splendid",
    wifi="free wifi, no wifi, paid wifi",
    dress="casual, smart casual, formal",
    hours="lunch, dinner, breakfast, brunch, afternoon tea, all day, after midnight, weekends only",
    delivery="bicycle couriers, van delivery, collection, post, drone",
    music="jazz, a jukebox, live piano, vinyl, a string quartet, the radio, silence, a DJ",
    seating="a terrace, window seats, a long table, booths, bar stools, a roof garden, a courtyard, sofas, pavement tables",
    diet="vegetarian dishes, vegan dishes, gluten-free dishes, halal dishes, kosher dishes, nut-free dishes, dairy-free dishes",
    drink="""craft beer, natural wine, cocktails, mocktails, single malts, loose-leaf tea, cold brew, cider, kombucha,
        fresh juice, sake, mezcal, hot chocolate, mulled wine""",
    language="""English, French, Spanish, Portuguese, Italian, German, Polish, Greek, Turkish, Arabic, Hindi, Tamil,
        Japanese, Korean, Mandarin, Cantonese, Vietnamese, Thai, Amharic, Swahili, Yoruba, Ukrainian, Danish, Farsi""",
    decade="""the 1890s, the 1900s, the 1920s, the 1930s, the 1950s, the 1960s, the 1970s, the 1980s, the 1990s, the
        2000s, the 2010s, the 2020s""",
    building="""a converted chapel, an old warehouse, a town house, a shopping arcade, a railway arch, a former bank, a
        boathouse, a market hall, a tower block, a pavilion, a stable yard, a cellar""",
    access="step-free entrance, lift, hearing loop, large-print menu, accessible toilet, parking for blue badges",
    pets="no pets, dogs on the terrace, dogs welcome, a resident cat",
    guide="the Blue Guide, the Night Owl List, Hidden Tables, the Walker's Companion, the Local Hundred, the Family Map",
)


def _small(name: str, share: float = 0.01) -> Kind:
    return Kind(name, plain(_CLOSED[name]), share, most=len(_CLOSED[name]), ranked=True)


DOMAIN = Domain(
    name="places",
    work="place",
    title=_TITLES,
    styles=STYLES,
    style="category",
    creator="neighbourhood",
    collection="street",
    kinds=(
        Kind("neighbourhood", _NEIGHBOURHOODS, 0.02),
        Kind("street", _STREET_NAMES, 0.12),
        Kind("category", {}, 0.04, most=72, least=2),
        Kind("person", PEOPLE, 0.5, people=True),
        Kind("dish", _DISHES, 0.1),
        _small("mood", 0.02),
        _small("occasion", 0.02),
        Kind("town", plain(CITIES), 0.005, most=len(CITIES)),
        _small("payment"),
        _small("parking"),
        _small("noise"),
        _small("price"),
        _small("wifi"),
        _small("dress"),
        _small("hours"),
        _small("delivery"),
        _small("music"),
        _small("seating"),
        _small("diet"),
        _small("drink", 0.02),
        _small("language", 0.02),
        _small("decade"),
        _small("building"),
        _small("access"),
        _small("pets"),
        _small("guide"),
        Kind("landmark", _LANDMARKS, 0.03),
        Kind("stop", _STOPS, 0.05),
        Kind("farm", _FARMS, 0.04),
        Kind("event", _EVENTS, 0.03, most=350),
    ),
    relations=(
        Relation("in", "is in", WORK, "neighbourhood", 1.0, most=1.1, role="creator", taste=2.5, affinity=0.9, skew=0.7),
        Relation("category", "is a", WORK, "category", 1.4, most=4, role="style", taste=2.0, affinity=1.0),
        Relation("on_street", "is on", WORK, "street", 0.95, most=1.3, role="collection", taste=3.0, affinity=0.95),
        Relation("lies_in", "lies in", "street", "neighbourhood", 1.0, most=1.0, role="collection_creator"),
        Relation("kind_of", "is a kind of", "category", "category", 1.0, most=1.0, role="style_parent"),
        Relation("run_by", "is run by", WORK, "person", 1.0, most=2, taste=1.0, affinity=0.95, skew=0.3),
        Relation("serves", "serves", WORK, "dish", 1.2, most=6, taste=0.8, affinity=0.9),
        Relation("feels", "feels", WORK, "mood", 1.0, most=4, taste=0.3, affinity=0.6),
        Relation("good_for", "is good for", WORK, "occasion", 1.5, most=5, taste=0.3, affinity=0.6),
        Relation("part_of", "is part of", "neighbourhood", "town", 1.0, most=1, affinity=0.0),
        Relation("trained_by", "learned from", "person", "person", 0.5, most=3, affinity=0.9),
        Relation("known_for", "is known for", "person", "dish", 0.5, most=3, affinity=0.9),
        # from here on: the small attributes
        Relation("takes", "takes", WORK, "payment", 2.2, most=4, affinity=0.0),
        Relation("parking", "offers", WORK, "parking", 1.0, most=2, affinity=0.2),
        Relation("noise", "is usually", WORK, "noise", 1.0, most=1, affinity=0.4, skew=0.5),
        Relation("price", "is priced", WORK, "price", 1.0, most=1, affinity=0.4, skew=0.8),
        Relation("wifi", "has", WORK, "wifi", 1.0, most=1, affinity=0.2),
        Relation("dress", "expects dress that is", WORK, "dress", 0.7, most=1, affinity=0.3, skew=1.5),
        Relation("open_for", "is open for", WORK, "hours", 2.4, most=4, affinity=0.4),
        Relation("delivers_by", "delivers by", WORK, "delivery", 0.8, most=2, affinity=0.3),
        Relation("plays", "plays", WORK, "music", 0.6, most=2, affinity=0.5),
        Relation("has_seats", "has seats at", WORK, "seating", 1.4, most=3, affinity=0.4),
        Relation("caters_for", "prepares", WORK, "diet", 1.4, most=3, affinity=0.4),
        Relation("pours", "pours", WORK, "drink", 1.6, most=5, affinity=0.6),
        Relation("speaks", "speaks", WORK, "language", 1.6, most=4, affinity=0.3, skew=1.0),
        Relation("founded_in", "was founded in", WORK, "decade", 1.0, most=1, affinity=0.1),
        Relation("housed_in", "is housed in", WORK, "building", 1.0, most=1, affinity=0.2),
        Relation("access", "provides", WORK, "access", 1.5, most=3, affinity=0.0),
        Relation("pets", "says about pets:", WORK, "pets", 0.8, most=1, affinity=0.2),
        Relation("listed_in", "is listed in", WORK, "guide", 0.4, most=2, affinity=0.2),
        Relation("near", "is near", WORK, "landmark", 1.0, most=3, affinity=0.2),
        Relation("stop", "is reached from", WORK, "stop", 1.0, most=2, affinity=0.2),
        Relation("buys_from", "buys from", WORK, "farm", 1.0, most=4, affinity=0.6),
        Relation("hosts", "hosts", WORK, "event", 0.6, most=3, affinity=0.5),
        Relation("hired", "employs", WORK, "person", 1.5, most=4, affinity=0.6, skew=0.2),
        Relation("recommended_by", "recommended by", WORK, "person", 1.2, most=4, affinity=0.6),
        Relation("sister_of", "is the sister of", WORK, WORK, 0.3, most=1, affinity=0.9),
        Relation("landmark_in", "stands in", "landmark", "neighbourhood", 1.0, most=1, affinity=0.1),
        Relation("stop_in", "is a stop in", "stop", "neighbourhood", 1.0, most=1, affinity=0.1),
        Relation("farm_near", "is a farm near", "farm", "town", 1.0, most=1, affinity=0.0),
        Relation("lives_near", "lives near", "person", "landmark", 0.5, most=1, affinity=0.1),
        Relation("street_runs_to", "runs into", "street", "street", 1.2, most=3, affinity=0.7),
    ),
    core=5,
    usual=12,
    in_collection=0.95,
    loyalty=0.4,
    release="independent",
    binge="collection",
    burst=2.5,
    burst_gap_s=7_000.0,
    clicks_per_taste=8.0,
    home="town",
)
