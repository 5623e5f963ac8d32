"""Generated features beside Table 1 of [khakzar2022]: the same methods, on subjects of yours.

    python experiments/paper_trend.py [--subject digits …] [--without METHOD …] [--also SPEC …]

For each method: the share of the null feature, of sums over whole features as it is judged, and of |S| pixel
by pixel, and the signed ratio that the paper reports; the overlap of maps with the same total, of whole
features and of pixels, and Eq. 9 as printed; the check of `single` and Eq. 10; the balance and Eq. 11. Then
the paper's column and its rank correlation with ours. Then, as in Table 2, IBA and GradCAM++ by layer, and
GradCAM beside them. Subjects without shipped samples need some first: `xattr-check generate` into the same
storage. One map of extremal_perturbation takes 800 passes, so that it takes longer than all others together.
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from scipy.stats import spearmanr

from xattr_check import Results, Verdict, load_subject, run_battery

# Table 1: null feature (ratio), double, single, saturation; ResNet on ImageNet, 1000 inputs.
PAPER = {
    "gradcam": (0.135, 0.176, 0.050, 0.243),
    "gradcam_plus_plus": (0.452, 0.469, 0.845, -0.571),
    "gradient": (0.835, 0.469, 0.684, 0.310),
    "guided_backprop": (0.704, 0.555, 0.979, 0.703),
    "integrated_gradients": (0.534, 0.344, 0.759, 0.212),
    "fullgrad": (1.00, 0.931, 0.951, -0.130),
    "deepshap": (1.03, 0.507, 0.934, 0.221),
    "extremal_perturbation": (0.047, 0.039, 0.759, -0.680),
    "iba": (0.211, 0.191, 0.295, -0.223),
}
# Table 2: null feature, double, single, of the last layer and the two before it; GradCAM is not in it.
PAPER_LAYERS: dict[str, tuple[tuple[float, ...], ...]] = {
    "iba": ((0.211, 0.191, 0.295), (0.201, 0.207, 0.158), (0.311, 0.337, 0.237)),
    "gradcam_plus_plus": ((0.453, 0.469, 0.845), (0.815, 0.899, 0.761), (0.906, 0.948, 0.823)),
    "gradcam": ((), (), ()),
}
OTHERS = ("input_x_gradient", "smoothgrad", "occlusion")
CONTROLS = ("random", "edges", "input_magnitude", "center", "constant")
CHECKS = ("null_feature", "class_sensitivity_double", "class_sensitivity_single", "saturation")
COLUMNS = (
    "null", "null |S|", "null signed", "double", "double |S|", "Eq. 9", "single", "Eq. 10", "balance",
    "Eq. 11",
)  # fmt: skip
# Each of our columns that says what a column of Table 1 does, and that.
COMPARED = ((0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (7, 2), (9, 3))
# Layers from the output to the input, by subject.
LAYERS = {
    "digits": ("stage3", "stage2", "stage1"),
    "resnet20": ("layer3", "layer2", "layer1"),
    "mobilenet_v2": ("features.18", "features.13", "features.6"),
}


def figures(results: Results, method: str) -> list[float]:
    """The columns of one method; NaN where a check came to no figure."""

    def value(name: str) -> float:
        verdict: Verdict = results[method, name]
        return float("nan") if verdict.interval is None else verdict.interval.value

    def published(name: str, evidence: str) -> float:
        found = results[method, name].evidence
        return float(found[evidence].mean()) if evidence in found else float("nan")

    null, double, single, saturation = CHECKS
    return [
        value(null),
        published(null, "pixel_share"),
        published(null, "signed_ratio"),
        value(double),
        published(double, "pixel_overlap"),
        published(double, "published_overlap"),
        value(single),
        published(single, "published"),
        value(saturation),
        published(saturation, "spearman"),
    ]


def by_layer(subject: str) -> dict[str, tuple[float, ...]]:
    """Methods at the layers of a subject, and the row of Table 2 for as many before the output."""
    return {
        f"xattr:{method}?layer={layer}": row
        for method, rows in PAPER_LAYERS.items()
        for layer, row in zip(LAYERS.get(subject, ()), rows, strict=False)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subject", nargs="+", default=["digits"])
    parser.add_argument("--without", nargs="+", default=[], metavar="METHOD")
    parser.add_argument("--also", nargs="+", default=[], metavar="SPEC", help="other methods")
    parser.add_argument("--storage", default=".xattr")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from xattr_check import methods

    for spec in arguments.subject:
        subject = load_subject(spec)
        names = [name for name in (*PAPER, *OTHERS, *CONTROLS) if name in methods()]
        specs = [f"xattr:{name}" for name in names if name not in arguments.without]
        results = run_battery(
            [*specs, *arguments.also, *by_layer(subject.name)],
            subject,
            checks="generated",
            storage=arguments.storage,
            seed=arguments.seed,
        )
        print(f"\n{subject.name}\n")
        print("| method | " + " | ".join(COLUMNS) + " | the paper's null, double, single, saturation |")
        print("|---" * (len(COLUMNS) + 2) + "|")
        theirs = {**{f"xattr:{name}": row for name, row in PAPER.items()}, **by_layer(subject.name)}
        table = {}
        for method in dict.fromkeys(verdict.method for verdict in results):
            table[method] = figures(results, method)
            shown = ", ".join(f"{one:.3f}" for one in theirs.get(method, ()))
            name = method.removeprefix("xattr:")
            print(f"| {name} | " + " | ".join(f"{one:.3f}" for one in table[method]) + f" | {shown} |")
        common = {method: PAPER[name] for method in table if (name := method.removeprefix("xattr:")) in PAPER}
        print(f"\nSpearman with the paper's column, {len(common)} methods:")
        for ours, column in COMPARED:
            pairs = [(table[method][ours], row[column]) for method, row in common.items()]
            print(f"  {COLUMNS[ours]}: {spearmanr(*zip(*pairs, strict=True))[0]:.2f}")
        for method in ("gradcam", "gradient"):
            for verdict in results:
                if verdict.method.removeprefix("xattr:") == method:
                    print(f"  {method}: {verdict.status}: {verdict}")


if __name__ == "__main__":
    main()
