"""The city guide: places to go, in streets of neighbourhoods; as wide as Yelp's graph (small attributes, 42 relations)."""

from __future__ import annotations

from metakg.generator.grammar import Grammar, plain
from metakg.generator.schema import WORK, Domain, Kind, Relation
from metakg.generator.words import ANIMALS, BIRDS, CITIES, FIRST_NAMES, FLOWERS, LAST_NAMES, PEOPLE, STREETS, TOWNS, listed

CAFE, RESTAURANT, BAR, SHOP, CARE, CULTURE, ACTIVE, HOME = (
    "Cafés and bakeries",
    "Restaurants",
    "Bars",
    "Shops",
    "Health and beauty",
    "Arts and nightlife",
    "Sports and outdoors",
    "Home services",
)

STYLES = {
    CAFE: listed("Espresso bar, Bakery, Tearoom, Ice cream parlour, Breakfast place, Doughnut shop, Juice bar, Creperie"),
    RESTAURANT: listed("Trattoria, Sushi bar, Taqueria, Bistro, Noodle house, Tapas restaurant, Curry house, Seafood grill"),
    BAR: listed("Pub, Cocktail bar, Wine bar, Beer garden, Sports bar, Tiki bar, Whisky bar, Brewery tap"),
    SHOP: listed("Bookshop, Record shop, Flower shop, Toy shop, Vintage clothing, Cheese shop, Bicycle shop, Stationer"),
    CARE: listed("Barber, Nail salon, Day spa, Dentist, Optician, Pharmacy, Massage studio, Veterinary surgery"),
    CULTURE: listed("Cinema, Jazz club, Gallery, Theatre, Comedy club, Karaoke bar, Museum, Concert hall"),
    ACTIVE: listed(
        "Yoga studio, Climbing gym, Swimming pool, Dance school, Bowling alley, Golf course, Boat hire, Riding school"
    ),
    HOME: listed("Locksmith, Plumber, Dry cleaner, Car workshop, Upholsterer, Electrician, Garden centre, Removal firm"),
}


def _lists(**lists: str) -> dict[str, tuple[str, ...]]:
    return {name: listed(text) for name, text in lists.items()}


_NAMES = {"first": FIRST_NAMES, "last": LAST_NAMES, "street": STREETS, "town": TOWNS}
_TITLES = {
    CAFE: Grammar(
        {
            "The {adj} {thing}": 3,
            "{first}'s {shop}": 3,
            "{thing} & {treat}": 2,
            "{street} {shop}": 3,
            "{adj} {treat}": 2,
            "{first} & {first2}'s {shop}": 1,
            "The {adj} {thing} on {street}": 1,
            "{last} {shop}": 2,
        },
        _lists(
            adj="Copper, Little, Second, Early, Golden, Sunny, Crooked, Blue, Honest, Warm, Lucky, Hungry",
            thing="Kettle, Spoon, Bean, Crumb, Teapot, Whisk, Saucer, Rolling Pin, Grinder, Cup, Oven, Sugar Bowl",
            treat="Scone, Croissant, Crumpet, Pretzel, Macaroon, Brioche, Bagel, Muffin, Waffle, Pancake",
            shop="Bakery, Coffee House, Tearoom, Kitchen, Cakes, Roastery, Patisserie, Breakfast Room",
        )
        | _NAMES,
    ),
    RESTAURANT: Grammar(
        {
            "{adj} {thing}": 3,
            "{last} & {kin}": 2,
            "{house} {first}": 3,
            "The {thing} on {street}": 3,
            "{first} and {first2}": 1.5,
        },
        _lists(
            adj="Silver, Salty, Wild, Green, Rustic, Seventh, Old, Generous, Saffron, Smoky, Lemon, Velvet",
            thing="""Olive, Ladle, Fig, Lobster, Pepper Mill, Fork, Wok, Anchovy, Basil Leaf, Artichoke, Chilli, Plate,
                Oyster, Radish""",
            kin="Daughters, Sons, Sisters, Company, Cousins, Nephews",
            house="Casa, Chez, Osteria, Taverna, Maison, Cantina, Trattoria, Villa, Little",
        )
        | _NAMES,
    ),
    BAR: Grammar(
        {
            "The {animal} & {thing}": 4,
            "The {adj} {animal}": 3,
            "{last}'s {bar}": 2,
            "The {adj} {bar}": 1,
            "{street} {bar}": 3,
            "The {bird} & {thing}": 3,
            "The {adj} {animal} on {street}": 1,
        },
        _lists(
            thing="Anchor, Barrel, Crown, Bell, Fiddle, Lantern, Plough, Kettle, Compass, Harp, Wheatsheaf, Cork, Candle",
            adj="Drunken, Laughing, Red, Sleepy, Thirsty, White, Dancing, Jolly, Golden, Winking, Green",
            bar="Taproom, Cellar, Saloon, Lounge, Arms, Alehouse, Bodega, Snug, Brewery",
        )
        | _NAMES
        | {"animal": ANIMALS, "bird": BIRDS},
    ),
    SHOP: Grammar(
        {
            "{last} & {kin}": 2,
            "The {adj} {thing}": 3,
            "{first}'s {stock}": 3,
            "{street} {stock}": 4,
            "{flower} & {bird}": 2,
            "The {adj} {thing} on {street}": 1,
        },
        _lists(
            kin="Sons, Daughters, Granddaughters, Partners, Nieces",
            adj="Curious, Paper, Second, Hidden, Velvet, Forgotten, Little, Wooden, Painted, Merry",
            thing="Page, Button, Spool, Turntable, Inkwell, Petal, Marble, Attic, Kite, Wheel, Thimble, Cabinet, Umbrella",
            stock="Books, Records, Flowers, Toys, Curios, Cycles, Papers, Provisions, Antiques, Fabrics",
        )
        | _NAMES
        | {"flower": FLOWERS, "bird": BIRDS},
    ),
    CARE: Grammar(
        {
            "{first}'s {room}": 3,
            "{street} {practice}": 4,
            "The {adj} {thing}": 2,
            "{last} {practice}": 3,
            "{flower} {room}": 2,
            "{town} {practice}": 1,
            "{first} {last} {room}": 1,
        },
        _lists(
            room="Salon, Studio, Barbershop, Treatment Rooms, Nail Bar, Hair Lounge, Retreat",
            practice="Dental Care, Opticians, Pharmacy, Clinic, Health Centre, Physiotherapy, Skin Care, Wellness",
            adj="Gentle, Fresh, Clear, Calm, Polished, Quiet, Sharp, Mindful",
            thing="Razor, Mirror, Smile, Lotus, Comb, Pebble, Towel, Blade",
        )
        | _NAMES
        | {"flower": FLOWERS},
    ),
    CULTURE: Grammar(
        {
            "The {adj} {thing}": 3,
            "{street} {hall}": 4,
            "The {last} {hall}": 3,
            "{town} {hall}": 3,
            "The {thing} on {street}": 3,
            "The {adj} {thing} on {street}": 1,
        },
        _lists(
            adj="Velvet, Crimson, Royal, Blue, Flying, Paper, Midnight, Grand, Upstairs, Secret",
            thing="Curtain, Note, Microphone, Easel, Spotlight, Trombone, Projector, Piano, Mask, Balcony, Encore",
            hall="Theatre, Gallery, Picture House, Playhouse, Music Hall, Museum, Jazz Club, Comedy Cellar, Arts Centre",
        )
        | _NAMES,
    ),
    ACTIVE: Grammar(
        {
            "{street} {club}": 4,
            "{adj} {thing}": 2,
            "{town} {club}": 3,
            "{first}'s {club}": 2,
            "The {adj} {thing}": 1,
            "{last} {club}": 3,
            "{first} & {first2}'s {club}": 0.5,
        },
        _lists(
            club="""Yoga, Climbing, Swimming Club, School of Dance, Bowling Lanes, Golf Club, Boathouse, Stables, Gym,
                Boxing Club, Tennis Club""",
            adj="Steady, High, Bright, Deep, Open, Rising, Moving, Upward, Balanced, Swift",
            thing="Summit, Breath, Stride, Paddle, Arrow, Ledge, Saddle, Horizon, Stretch, Racket",
        )
        | _NAMES,
    ),
    HOME: Grammar(
        {"{last} & {kin} {trade}": 3, "{town} {trade}": 3, "{street} {trade}": 4, "{adj} {trade}": 1, "{first}'s {trade}": 2},
        _lists(
            kin="Sons, Daughters, Sister, Brothers, Co.",
            trade="""Locksmiths, Plumbing, Dry Cleaners, Motors, Upholstery, Electrical, Garden Centre, Removals, Roofing,
                Carpentry, Window Cleaning, Chimney Sweeps""",
            adj="Trusty, Handy, Neighbourly, Swift, Honest, Spotless, Reliable, Friendly",
        )
        | _NAMES,
    ),
}

_STREET_NAMES = Grammar({"{street}": 3, "{town} Road": 3, "{last} Street": 2, "{last} Avenue": 2}, _NAMES)
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
    )
    | {"bird": BIRDS},
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
    {"{town} Farm": 1, "{last} {kind}": 2},
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
_STOPS = Grammar({"{street} stop": 2, "{town} Road stop": 2, "{last} Square stop": 2}, _NAMES)
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
        Relation("category", "is a", WORK, "category", 1.4, most=4, role="style", taste=2.0, affinity=0.85),
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
        Relation("caters_for", "offers", WORK, "diet", 1.4, most=3, affinity=0.4),
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
    burst=2.2,
    burst_gap_s=7_000.0,
    clicks_per_taste=8.0,
    home="town",
)
