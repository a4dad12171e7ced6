"""Word lists that more than one story uses: people, towns, streets, cities, birds."""

from __future__ import annotations

from metakg.generator.grammar import Grammar


def listed(text: str) -> tuple[str, ...]:
    """Return the words of a comma-separated list; a line break counts as a space."""
    words = tuple(" ".join(word.split()) for word in text.split(","))
    assert len(set(words)) == len(words), sorted(word for word in words if words.count(word) > 1)
    return words


FIRST_NAMES = listed("""
Ada, Adaeze, Agnes, Aiko, Alba, Alma, Amara, Amina, Anouk, Anselm, Arjun, Arlo, Astrid, Aurelio, Aya, Bao, Beatrix,
Benedict, Bilal, Birgit, Bram, Callum, Camille, Cato, Cecily, Chidi, Clara, Clement, Cormac, Cosima, Dagny, Dalia, Damian,
Dara, Delphine, Desmond, Dimitri, Dov, Edith, Eero, Eilidh, Elena, Elio, Elodie, Emeka, Emil, Enid, Esme, Esperanza,
Esther, Ewan, Fadi, Farah, Felix, Fenna, Fergus, Finn, Fleur, Florian, Freya, Gaia, Gideon, Greta, Gwen, Hadiya, Hanna,
Haruki, Hector, Hedda, Henrik, Hilde, Hugo, Ida, Idris, Ilse, Imogen, Ines, Ingrid, Iris, Isolde, Ivo, Jasper, Javier,
Jelena, Joaquin, Johanna, Jonah, Juno, Kaito, Kamila, Karim, Kasper, Katya, Keiko, Kerstin, Kofi, Lars, Laszlo, Leila,
Lennart, Leonie, Linus, Liv, Lorenzo, Lotte, Lucian, Ludo, Luz, Magnus, Maren, Margit, Marisol, Marta, Matteo, Mavis, Mei,
Mehmet, Mercy, Milan, Milo, Mina, Mira, Moira, Nadia, Naomi, Nell, Niamh, Nikolai, Nils, Noor, Nuala, Oda, Odette, Ola,
Olive, Omar, Orla, Oskar, Otis, Otto, Paloma, Pascal, Pavel, Pearl, Per, Petra, Philippa, Pilar, Quentin, Rafael, Rania,
Ravi, Reza, Rhiannon, Rhys, Rohan, Romy, Rosalind, Rufus, Runa, Rupert, Sabine, Salma, Samir, Sana, Saskia, Selma, Senna,
Seren, Silas, Silvia, Simone, Sofia, Solveig, Soren, Stellan, Sunniva, Suki, Sven, Sybil, Tadeo, Tamsin, Tariq, Tess,
Thea, Theo, Tilda, Tobias, Tomas, Tove, Tunde, Uma, Ursula, Valentin, Vera, Viggo, Viola, Wanda, Wilhelmina, Winifred,
Xenia, Yara, Yasmin, Yusuf, Yuki, Zadie, Zara, Zeno, Zofia, Zora
""")

LAST_NAMES = listed("""
Abara, Abernathy, Achterberg, Adeyemi, Aldersey, Almqvist, Alvarado, Amsel, Anand, Arkwright, Ashdown, Asante, Aubrey,
Bainbridge, Balasko, Barrow, Beaumont, Bellweather, Benitez, Bergstrom, Blackwood, Blom, Boateng, Bonnefoy, Brandt,
Brightwater, Brockway, Calderon, Calloway, Campbell, Caradoc, Cardoso, Castellane, Cavendish, Chandra, Chevalier, Claes,
Coldwell, Corrigan, Cotterill, Crane, Cromarty, Dahl, Dalgaard, Dankworth, Darrow, Delacourt, Demir, Devereux, Diallo,
Dragomir, Drummond, Duarte, Dunmore, Eastlake, Edwardes, Eklund, Elphick, Emberley, Engstrom, Esposito, Fairbairn, Falk,
Farouk, Fenwick, Ferrante, Fitzroy, Flanagan, Flinders, Fontaine, Forsyth, Friel, Fujimori, Gallagher, Galloway, Garza,
Gentry, Gifford, Glasspool, Goldfinch, Goncalves, Gorecki, Granger, Greaves, Grieve, Gupta, Haddad, Hallam, Hallstrom,
Hargreave, Harrow, Hartigan, Haugen, Hawthorn, Heikkinen, Henshaw, Herrera, Hightower, Hinton, Hollis, Holloway, Hoshino,
Huxtable, Ibarra, Idowu, Ingram, Iyer, Jansen, Jardine, Jelinek, Jourdain, Kallio, Kamara, Karlsen, Kaur, Kavanagh, Keane,
Kestrel, Khoury, Kilbride, Kingsley, Kowal, Kristoff, Kuznets, Lachance, Lambourne, Langlois, Larkspur, Latimer, Laurent,
Lefebre, Leifsson, Lindqvist, Lisowski, Llewellyn, Lockhart, Lombardi, Lovelock, Lundgren, Macaulay, Maddox, Magaldi,
Mahoney, Marchetti, Marlowe, Mbeki, McAllister, McBride, Mehta, Mendoza, Merriweather, Mistry, Molina, Montague, Moreau,
Morgenstern, Mulgrew, Murakawa, Nakagawa, Nansen, Navarro, Ndiaye, Neville, Nightingale, Nilsen, Nkemelu, Norbury, Novak,
Nwosu, Oakley, Obi, Ogilvie, Okafor, Olander, Oliveira, Onyango, Orlov, Osei, Ostrander, Pacheco, Palmgren, Papadaki,
Paquette, Pargeter, Pascoe, Patel, Pelletier, Pemberton, Penhaligon, Pereira, Petrov, Pettigrew, Pfeiffer, Pickering,
Pomeroy, Prentice, Proudfoot, Quartermain, Quill, Quintero, Rademaker, Rahimi, Ramsbottom, Rasmussen, Ravenscroft,
Redfern, Renner, Ridgeway, Rinaldi, Rivera, Rosenthal, Rosewall, Rourke, Sandoval, Santangelo, Sarkis, Saunders, Savary,
Sayeed, Scarborough, Schreiner, Seabright, Selkirk, Sen, Shackleton, Shapiro, Sharif, Sinclair, Sjoberg, Skov, Solano,
Sommers, Soto, Spellman, Stavros, Steiner, Stenmark, Sterne, Stockwell, Strand, Sundaram, Swift, Szabo, Takeda, Tallis,
Tanaka, Tavares, Tennant, Thackeray, Thistlewood, Thornbury, Tierney, Tokarev, Tomlin, Torvald, Toussaint, Tremaine,
Trevelyan, Tran, Underhill, Unwin, Usman, Valdez, Van Houten, Varga, Vasquez, Vaughan, Velasco, Verhoeven, Vesterby,
Villanueva, Voss, Wainwright, Wakefield, Warwick, Waverley, Weatherby, Weiss, Wetherell, Whitlock, Wilding, Winterbourne,
Wolfe, Woodrow, Wren, Yamada, Yarrow, Yildiz, Zabinski, Zamora, Zeller, Ziegler
""")

PEOPLE = Grammar(
    {"{first} {last}": 1.0, "{first} {initial}. {last}": 0.12, "{first} {last}-{last2}": 0.02},
    {"first": FIRST_NAMES, "last": LAST_NAMES, "initial": tuple("ABCDEFGHJKLMNOPRSTVW")},
)

STEMS = listed("""
Ash, Wren, Thorn, Pell, Marl, Hazel, Elder, Fal, Kes, Lang, Mill, Raven, Whit, Bram, Cald, Dun, Fern, Har, Holm, Lin, Mar,
Nor, Pen, Rook, Sed, Til, Win, Yar, Brack, Cop, Alder, Heron, Sal, Wood, Clover, Bell
""")
TOWNS = tuple(
    stem + end
    for end in listed("combe, wick, field, ford, bury, ham, ley, mere, stead, thorpe, worth, bourne, haven, gate, den")
    for stem in STEMS
    if stem[-1] != end[0] and stem + end not in {"Bellend", "Nortown"}
)
"""Villages and small towns that sound as if they were on a map."""

ESTATES = listed("""
Hartwell, Ravensworth, Wrenfield, Ashcroft, Pellham, Hazeldene, Elderwick, Langley, Blackthorn, Caldecott, Fernhill,
Holmwood, Penrose, Rookwood, Whitmore, Winterbrook, Yarrowby, Coldharbour, Dunmere, Heronsgate, Saltmarsh, Larkfield,
Fairholme, Greystone, Hollybank, Kingsmere, Northgate, Oakhurst, Silverdale, Summerhay, Westerleigh, Wychwood, Marchmont,
Thornley, Stonecross, Quarrington
""")
HOUSES = tuple(f"{name} {kind}" for kind in ("Hall", "Abbey", "Grange", "Manor", "House", "Lodge") for name in ESTATES)

TREES = listed("""
Juniper, Willow, Primrose, Lavender, Orchard, Bramble, Chestnut, Harbour, Lantern, Linden, Clover, Foxglove, Honeysuckle,
Quince, Sparrow, Thistle, Rosemary, Mulberry, Mercer, Cooper, Chapel, Market, Mill, Candle, Tanner, Almond, Weaver, Swan,
Fountain, Bridge
""")
STREETS = tuple(f"{tree} {kind}" for kind in ("Lane", "Row", "Street", "Hill", "Square", "Terrace", "Court") for tree in TREES)

CITIES = listed("""
Lisbon, Edinburgh, Kyoto, Montreal, Copenhagen, Bologna, Porto, Galway, Ljubljana, Buenos Aires, Melbourne, Vancouver,
Lyon, Bergen, Tallinn, Cape Town, Nairobi, Lagos, Accra, Dakar, Marrakesh, Beirut, Istanbul, Tbilisi, Athens, Palermo,
Valencia, Seville, Antwerp, Utrecht, Leipzig, Vienna, Krakow, Prague, Budapest, Bucharest, Riga, Helsinki, Gothenburg,
Oslo, Reykjavik, Cork, Cardiff, York, Bristol, Glasgow, Norwich, Boston, Chicago, New Orleans, Savannah, Santa Fe,
Portland, Halifax, Oaxaca, Havana, Bogota, Lima, Valparaiso, Montevideo, Salvador, Auckland, Hobart, Singapore, Hanoi,
Taipei, Busan, Sapporo, Jaipur, Kolkata, Kochi, Colombo, Zanzibar, Addis Ababa
""")

BIRDS = listed("""
Heron, Lark, Wren, Swift, Kestrel, Plover, Finch, Magpie, Owl, Sparrow, Curlew, Swallow, Starling, Robin, Raven,
Kingfisher, Egret, Nightjar, Linnet, Puffin, Sandpiper, Goldcrest, Lapwing, Osprey, Dipper
""")
ANIMALS = listed("""
Fox, Hare, Badger, Otter, Stag, Hound, Tortoise, Whale, Bear, Wolf, Salmon, Hedgehog, Lynx, Mule, Goose, Ram, Beaver,
Toad, Moth, Peacock
""")
FLOWERS = listed("""
Foxglove, Bluebell, Wild Rose, Lilac, Jasmine, Marigold, Peony, Iris, Magnolia, Sweet Pea, Snowdrop, Poppy, Camellia,
Dahlia, Honeysuckle, Violet, Hawthorn, Cornflower
""")
MONTHS = listed("January, February, March, April, May, June, July, August, September, October, November, December")
NUMBERS = listed("Two, Three, Four, Five, Six, Seven, Nine, Ten, Twelve, Thirteen, Forty, A Hundred, A Thousand")

AGE_BANDS = ("under 18", "18 to 24", "25 to 34", "35 to 44", "45 to 54", "55 to 64", "65 and over")
