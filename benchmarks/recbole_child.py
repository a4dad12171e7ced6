"""One RecBole model, trained in RecBole's own environment; started by recbole.py, not by people. Prints one JSON line.

python recbole_child.py CLASS FOLDER SETTINGS
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from typing import Any

import torch


def main() -> None:
    """Train and report."""
    name, _, text = sys.argv[1:]
    given = json.loads(text)
    torch.set_num_threads(given.pop("threads"))
    topk, ranks = given.pop("topk"), given.pop("ranks")
    # RecBole pickles its settings into its own checkpoints, which newer releases of torch refuse to read back unasked.
    torch.load = functools.partial(torch.load, weights_only=False)
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    config = Config(
        model=name,
        dataset="shared",
        config_dict={
            **given,
            "benchmark_filename": ["train", "valid", "test"],
            "load_col": {
                "inter": ["user_id", "item_id"],
                "kg": ["head_id", "relation_id", "tail_id"],
                "link": ["item_id", "entity_id"],
            },
            "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO", "mode": "full"},
            "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
            "eval_batch_size": 1 << 20,
            "metrics": ["Recall"],
            "topk": [topk],
            "valid_metric": f"Recall@{topk}",
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
        },
    )
    init_seed(config["seed"], True)
    logging.disable(logging.INFO)
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"], True)
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    marks: list[tuple[float, float]] = []
    inner = trainer._train_epoch

    def timed(*arguments: Any, **named: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = inner(*arguments, **named)
        marks.append((time.perf_counter() - wall, time.process_time() - cpu))
        return result

    trainer._train_epoch = timed
    best, found = None, {}
    if ranks:
        best = float(trainer.fit(train, valid, saved=True, show_progress=False)[0])
        found = trainer.evaluate(test, load_best_model=True, show_progress=False)
    else:
        trainer.fit(train, None, saved=False, show_progress=False)
    middle = len(marks) // 2
    print(
        json.dumps(
            {
                "recall": float(found[f"recall@{topk}"]) if found else None,
                "valid": best,
                "epochs": len(marks),
                "seconds": sorted(wall for wall, _ in marks)[middle],
                "cpu_seconds": sorted(cpu for _, cpu in marks)[middle],
            }
        )
    )


if __name__ == "__main__":
    main()
