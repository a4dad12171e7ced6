"""The paper's experiments as commands: units of work, rows that survive a kill, and honest statistics.

table3        all models, all scenarios, seeds, paired tests (paper, Table 3)
ablation      what each part of MetaKG is worth (Fig. 4)
efficiency    seconds an epoch and seconds to rank (Table 4)
scalability   time and memory against the amount of data (Fig. 5), up to where one machine ends
sensitivity   local updates, support size and shots, embedding size (Figs. 6 to 8)
leak          what start vectors that saw the answers are worth
parameters    numbers of parameters and operations

`rows` keeps what is found, `runner` decides what runs next and what a budget cuts; one file for each experiment says what its
units are. `metakg experiment` runs them, `metakg report` shows them.
"""
