"""Each error that an author can make: its place, what is wrong, what would be right."""

from __future__ import annotations

import pytest

from dp_dagster.errors import DescriptorError

# What is appended to the two lines of the head, and all that is said about it.
CASES: dict[str, tuple[str, list[str]]] = {
    "unknown key": (
        "refresh_rte: daily\n",
        ["product.yaml:3: refresh_rte: unknown key; did you mean refresh_rate?"],
    ),
    "unknown key of an owner": (
        "owner: {team: a, mail: b@c.de}\n",
        ["product.yaml:3: owner.mail: unknown key; did you mean email?"],
    ),
    "unknown key of a kind": (
        "input_ports:\n  - name: sales\n    type: FILES\n    path: sales.csv\n    delimeter: ';'\n",
        ["product.yaml:7: input_ports[0].delimeter: unknown key; did you mean delimiter?"],
    ),
    "unknown key that is like none": (
        "support: {zzz: 1}\n",
        ["product.yaml:3: support.zzz: unknown key; known keys: channel, email, url"],
    ),
    "number for text": (
        "name: 360\n",
        ['product.yaml:3: name: wants text, not the number 360; write it in quotes: "360"'],
    ),
    "text for a list": (
        "datasets: sales\n",
        ["product.yaml:3: datasets: wants a list, not the text 'sales'; write each item after `- `"],
    ),
    "text for a mapping": (
        "owner: retail\n",
        ["product.yaml:3: owner: wants a mapping, not the text 'retail'; write `name: value` lines below it"],
    ),
    "wrong item": (
        "datasets:\n  - sales\n",
        [
            (
                "product.yaml:4: datasets[0]: wants a mapping, not the text 'sales'; "
                "write `name: value` lines below it"
            )
        ],
    ),
    "choice": (
        "status: activ\n",
        ["product.yaml:3: status: activ is no choice here; did you mean active?"],
    ),
    "text for a tag": (
        "tags: {tier: 1}\n",
        ["product.yaml:3: tags.tier: wants text, not 1; write it in quotes"],
    ),
    "empty text": ("name: ' '\n", ["product.yaml:3: name: is empty; write something, or leave the key out"]),
    "e-mail": (
        "owner: {team: a, email: nobody}\n",
        ["product.yaml:3: owner.email: nobody is no e-mail address; write name@example.com"],
    ),
    "unknown kind": (
        "input_ports:\n  - {name: a, type: FILE, path: a.csv}\n",
        ["product.yaml:4: input_ports[0].type: FILE is no kind of input port; did you mean FILES?"],
    ),
    "unknown kind like none lists the choices": (
        "transforms:\n  - {name: a, type: FORTRAN}\n",
        [
            (
                "product.yaml:4: transforms[0].type: FORTRAN is no kind of transform; "
                "choices: DBT, PYTHON, SPARK, SQL"
            )
        ],
    ),
    "duplicate names of an input and a transform": (
        (
            "input_ports:\n  - {name: clean, type: FILES, path: a.csv}\n"
            "transforms:\n  - {name: clean, type: PYTHON, function: 'transforms/a.py:f'}\n"
        ),
        [
            (
                "product.yaml:6: transforms[0].function: file transforms/a.py does not exist in shops/; "
                "create it, or correct the path"
            ),
            (
                "product.yaml:6: transforms[0].name: clean is the name of input_ports[0] on line 4 too; "
                "give each a name of its own"
            ),
        ],
    ),
    "duplicate names that are derived": (
        "output_ports:\n  - {type: NATS, endpoint: 'https://a/x'}\n  - {type: WEBHOOK, endpoint: 'https://b/x'}\n",
        [
            "product.yaml:5: output_ports[1].name: x is the name of output_ports[0] on line 4 too; add `name: …`"
        ],
    ),
    "same endpoint": (
        (
            "output_ports:\n  - {name: a, type: NATS, endpoint: 'https://a/x'}\n"
            "  - {name: b, type: WEBHOOK, endpoint: 'https://a/x/'}\n"
        ),
        [
            (
                "product.yaml:5: output_ports[1].endpoint: is the endpoint of output_ports[0] too; "
                "give each port an endpoint of its own"
            )
        ],
    ),
    "port naming a missing dataset": (
        "output_ports:\n  - {name: a, type: SQL, dataset: sales}\n",
        ["product.yaml:4: output_ports[0].dataset: sales is no dataset of the product; there are none"],
    ),
    "no name can be derived": (
        "output_ports:\n  - {type: NATS, endpoint: 'https://a/2024'}\n",
        [
            (
                "product.yaml:4: output_ports[0].name: is missing, and '2024', taken from the endpoint, "
                "cannot stand in; add `name: …`"
            )
        ],
    ),
    "id": (
        "input_ports:\n  - {name: Sales-2024, type: FILES, path: a.csv}\n",
        [
            (
                "product.yaml:4: input_ports[0].name: Sales-2024 is no id; use lower-case letters, digits and "
                "underscores, beginning with a letter"
            )
        ],
    ),
    "long id": (
        f"input_ports:\n  - {{name: {'a' * 64}, type: FILES, path: a.csv}}\n",
        [
            f"product.yaml:4: input_ports[0].name: {'a' * 64} has 64 characters; use at most 63",
        ],
    ),
    "reserved name": (
        "output_ports:\n  - {name: select, type: NATS}\n",
        ["product.yaml:4: output_ports[0].name: select is a reserved name; choose another, with a word more"],
    ),
    "path that leaves the folder": (
        "input_ports:\n  - {name: a, type: FILES, path: ../other/a.csv}\n",
        [
            (
                "product.yaml:4: input_ports[0].path: ../other/a.csv leads out of the product's folder; "
                "name a file inside the folder, or a URL such as file:///absolute/path"
            )
        ],
    ),
    "transform that leaves the folder": (
        "transforms:\n  - {name: a, type: SQL, path: ../a.sql}\n",
        [
            (
                "product.yaml:4: transforms[0].path: ../a.sql leads out of the product's folder; "
                "name a file inside the product's folder"
            )
        ],
    ),
    "contract that leaves the folder": (
        "input_ports:\n  - {name: a, type: FILES, path: a.csv, contract: '../a.py:A'}\n",
        [
            (
                "product.yaml:4: input_ports[0].contract: ../a.py leads out of the product's folder; "
                "name a file inside the product's folder"
            )
        ],
    ),
    "missing environment variable": (
        "name: ${SHOPS_NAME}\n",
        [
            (
                "product.yaml:3: name: environment variable SHOPS_NAME is not set; "
                "set it, or give a default: ${SHOPS_NAME:-…}"
            )
        ],
    ),
    "malformed reference": (
        "name: ${1NAME}\n",
        [
            (
                "product.yaml:3: name: ${1NAME} is not a reference; "
                "write ${NAME} or ${NAME:-default}, or $${ for a literal ${"
            )
        ],
    ),
    "open reference": (
        "name: 'a ${NAME'\n",
        [
            (
                "product.yaml:3: name: ${NAME is not a reference; "
                "write ${NAME} or ${NAME:-default}, or $${ for a literal ${"
            )
        ],
    ),
    "octal": (
        "input_ports:\n  - {name: a, type: FILES, path: 010}\n",
        [
            (
                "product.yaml:4: input_ports[0].path: 010 is an octal number for YAML 1.1 and a decimal one for "
                "YAML 1.2; write it without the leading zero, or in quotes if it is text"
            )
        ],
    ),
    "number where a key of YAML 1.1 stands": (
        "on: x\n",
        [
            (
                "product.yaml:3: on: unknown key; known keys: access, alerts, api_version, consumers, datasets, "
                "description, documents, domain, infrastructure, input_ports, name, output_ports, owner, partitions, "
                "product_id, refresh_rate, sla, status, support, tags, transforms, version"
            )
        ],
    ),
    "duplicate key": (
        "name: a\nname: b\n",
        ["product.yaml:4: name: key appears twice (first on line 3); remove one of them"],
    ),
    "tag of YAML": (
        "name: !!python/object:os.system x\n",
        [
            (
                "product.yaml:3: name: carries the YAML tag tag:yaml.org,2002:python/object:os.system; "
                "remove the tag"
            )
        ],
    ),
    "access": (
        "access: {roles: [analyst]}\n",
        ["product.yaml:3: access: wants a list, not a mapping; write each item after `- `"],
    ),
    "auth that nothing enforces": (
        "output_ports:\n  - {name: a, type: SQL, auth: OAuth2}\n",
        [
            (
                "product.yaml:4: output_ports[0].auth: is refused: SQL ports ask nobody who they are; "
                "remove it; whoever may read the storage may read this port"
            )
        ],
    ),
    "key that the kind has not": (
        "output_ports:\n  - {name: a, type: FILES, table: x}\n",
        [
            (
                "product.yaml:4: output_ports[0].table: unknown key; known keys: dataset, description, endpoint, "
                "format, name, readers, refresh_rate, sla, type"
            ),
        ],
    ),
    "endpoint that does not fit the format": (
        "output_ports:\n  - {name: a, type: FILES, endpoint: /x}\n",
        [
            (
                "product.yaml:4: output_ports[0].endpoint: does not end in .parquet; name the file "
                "(…/flights.parquet), or end with / for a folder in which the port names it"
            ),
        ],
    ),
    "unknown key of a kind that is not installed": (
        "output_ports:\n  - {type: NATS, refresh_rat: daily}\n",
        [
            (
                "product.yaml:4: output_ports[0].refresh_rat: unknown key: NATS is not installed, so nothing "
                "is known of it; did you mean refresh_rate?"
            )
        ],
    ),
    "refresh rate": (
        "refresh_rate: monthly\n",
        [
            (
                "product.yaml:3: refresh_rate: monthly is no refresh rate; write one of hourly, daily, weekly, "
                'real-time, a duration such as PT30M or a cron expression such as "0 6 * * *"'
            )
        ],
    ),
    "key of a refresh rate": (
        "refresh_rate: {every: daily, maximum_lg: PT1H}\n",
        [
            (
                "product.yaml:3: refresh_rate.maximum_lg: unknown key; "
                "known keys: every, maximum_lag, warn_lag, timezone"
            )
        ],
    ),
    "availability": (
        "sla: 99.9\n",
        ['product.yaml:3: sla: 99.9 is no availability; write a percentage of up to 100, such as "99.9%"'],
    ),
    "objective": (
        "sla: {uptime: 99%}\n",
        [
            (
                "product.yaml:3: sla.uptime: unknown objective; known objectives: availability, completeness, "
                "end_of_life, end_of_support, error_rate, freshness, frequency, general_availability, latency, "
                "retention, support_hours, time_of_availability, time_to_detect, time_to_repair, volume"
            )
        ],
    ),
    "shape of alerts": (
        "alerts: everybody\n",
        [
            (
                "product.yaml:3: alerts: this may hold a secret, so it must not stand in the file; "
                "put it into an environment variable and write ${NAME}"
            )
        ],
    ),
    "wrong form of a kind's value": (
        "input_ports:\n  - {name: a, type: PRODUCT, port: flights}\n",
        [
            (
                "product.yaml:4: input_ports[0].port: flights has the wrong form; expected: `product.port@major`: "
                "an output port of another product, one major version."
            )
        ],
    ),
    "dataset without contract": (
        "datasets:\n  - {name: a, from: b}\n",
        ["product.yaml:4: datasets[0].contract: is missing; add `contract: …`"],
    ),
    "contract reference": (
        "datasets:\n  - {name: a, from: b, contract: contracts/a.py}\n",
        [
            (
                "product.yaml:4: datasets[0].contract: contracts/a.py names no contract; "
                "write file.py:Name, such as contracts/flights.py:Flights, or file.odcs.yaml:name for an ODCS document"
            )
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_one_line_with_place_and_fix(name, folder, head):
    text, expected = CASES[name]
    assert folder.problems(head + text) == expected


INVALID_HEADS = {
    "product_id: Shops\nversion: 1.0.0\n": [
        (
            "product.yaml:1: product_id: Shops is no id; use lower-case letters, digits and underscores, "
            "beginning with a letter"
        )
    ],
    "product_id: main\nversion: 1.0.0\n": [
        "product.yaml:1: product_id: main is a reserved name; choose another, with a word more"
    ],
    "product_id: shops\nversion: 1.10\n": [
        (
            "product.yaml:2: version: 1.10 is a number for YAML; "
            "write a semantic version of three numbers, such as 1.10.0"
        )
    ],
    "product_id: shops\nversion: 1\n": [
        (
            "product.yaml:2: version: 1 is a number for YAML; "
            "write a semantic version of three numbers, such as 1.10.0"
        )
    ],
    "product_id: shops\nversion: 01.2.3\n": [
        "product.yaml:2: version: 01.2.3 is no semantic version; write three numbers, such as 1.2.0 or v1.2.0"
    ],
    "product_id: shops\nversion: [1, 2, 3]\n": [
        "product.yaml:2: version: wants text; write a semantic version such as 1.2.0"
    ],
    "version: 1.0.0\n": ["product.yaml:1: product_id: is missing; add `product_id: …`"],
    "api_version: dp_dagster/v9\nproduct_id: shops\nversion: 1.0.0\n": [
        (
            "product.yaml:1: api_version: dp_dagster/v9 is not a version that this release reads; "
            "write dp_dagster/v1"
        )
    ],
    "": ["product.yaml:1: is empty; start with `product_id: …`"],
    "# nothing but a remark\n": ["product.yaml:1: is empty; start with `product_id: …`"],
    "- product_id: shops\n": ["product.yaml:1: wants a mapping, not a list; start with `product_id: …`"],
    "shops": ["product.yaml:1: wants a mapping, not the text 'shops'; start with `product_id: …`"],
    "owner:\n\tteam: a\n": ["product.yaml:2: is indented with a tab; indent with spaces"],
    "name: 'a\n": [
        (
            "product.yaml:2: is not valid YAML: found unexpected end of stream; "
            "check indentation, quotes and brackets"
        )
    ],
    "name: a\n---\nname: b\n": ["product.yaml:2: holds a second document; keep one document in each file"],
    "name: *shop\n": [
        (
            "product.yaml:1: is not valid YAML: found undefined alias 'shop'; "
            "check indentation, quotes and brackets"
        )
    ],
    "name: a\x07\n": ["product.yaml:1: holds the control character 7; remove it"],
    "a: &a [*a]\n": ["product.yaml:1: a[0]: is an alias that contains itself; write the value out"],
    "a: &a {<<: *a}\n": ["product.yaml:1: a: merges itself; write the values out"],
}


@pytest.mark.parametrize("text", INVALID_HEADS)
def test_documents_that_cannot_be_read_say_why(text, folder):
    assert folder.problems(text) == INVALID_HEADS[text]


def test_text_that_is_not_utf8_names_its_line(folder):
    assert folder.problems(b"product_id: shops\nname: Caf\xe9\n") == [
        "product.yaml:2: is not UTF-8 text (byte 0xe9); save the file as UTF-8"
    ]


def test_a_missing_file_and_a_folder_without_descriptor(folder):
    from dp_dagster.resolve import resolve

    with pytest.raises(DescriptorError, match=r"^product\.yaml: cannot be read: No such file or directory$"):
        resolve(folder.root / "product.yaml", folder.settings)
    with pytest.raises(DescriptorError, match=r"contracts: holds no descriptor; add product\.yaml"):
        resolve(folder.root / "contracts", folder.settings)


def test_two_descriptors_in_a_folder_are_refused(folder, head, sample):
    from dp_dagster.resolve import resolve

    folder.write(head)
    folder.write(sample, "product.json")
    with pytest.raises(DescriptorError, match=r"holds product\.yaml and product\.json; keep one"):
        resolve(folder.root, folder.settings)


def test_aliases_that_explode_are_stopped(folder):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = folder.problems("\n".join(levels))
    assert problem.endswith("expands to more than 20,000 values; use fewer YAML aliases")


def test_merges_that_explode_are_stopped(folder):
    levels = ["a0: &a0 {x: 1}"]
    levels += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    (problem,) = folder.problems("\n".join(levels))
    assert problem.endswith("expands to more than 20,000 values; use fewer YAML aliases")


def test_deep_nesting_is_stopped(folder):
    assert folder.problems("[" * 20_000) == ["product.yaml: is nested too deeply; flatten it"]


def test_a_huge_file_is_not_read(folder):
    assert folder.problems("#" * 1_000_001) == ["product.yaml: is longer than 1,000,000 bytes; shorten it"]


def test_a_symbolic_link_may_not_leave_the_folder(folder, head, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (folder.root / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder.root / "transforms" / "link.sql").symlink_to(tmp_path / "secret.csv")
    problems = folder.problems(
        head + "input_ports:\n  - {name: a, type: FILES, path: link.csv}\n"
        "transforms:\n  - {name: b, type: SQL, path: transforms/link.sql}\n"
    )
    assert [problem.partition(" leads out")[0] for problem in problems] == [
        "product.yaml:4: input_ports[0].path: link.csv",
        "product.yaml:6: transforms[0].path: transforms/link.sql",
    ]


def test_a_null_character_in_a_path_is_refused(folder, head):
    problems = folder.problems(head + 'input_ports:\n  - {name: a, type: FILES, path: "a\\0.csv"}\n')
    assert problems == ["product.yaml:4: input_ports[0].path: holds a null character; remove it"]


def test_values_of_variables_never_stand_in_messages(folder, head, monkeypatch):
    monkeypatch.setenv("SHOPS_SECRET", "hunter2hunter2")
    problems = folder.problems(
        head + "status: ${SHOPS_SECRET}\n"
        "owner: {team: a, email: '${SHOPS_SECRET}'}\n"
        "refresh_rate: ${SHOPS_SECRET}\n"
        "sla: ${SHOPS_SECRET}\n"
        "input_ports:\n  - {name: '${SHOPS_SECRET}x', type: FILES, path: '../${SHOPS_SECRET}', format: csv}\n"
        "  - {name: b, type: FILES, path: '../${SHOPS_SECRET}', format: csv}\n"
        "  - {name: c, type: '${SHOPS_SECRET}'}\n"
        "  - {name: d, type: FILES, path: a.csv, header: '${SHOPS_SECRET}'}\n"
        "output_ports:\n  - {type: SQL, dataset: '${SHOPS_SECRET}'}\n"
    )
    assert len(problems) == 9
    assert "hunter2" not in "\n".join(problems).lower()


DIALECTS = {
    "apiVersion: v1.0.0\nkind: DataProduct\nid: x\n": (
        "product.yaml:2: kind: is an Open Data Product Standard document (ODPS of Bitol), which is not read yet"
    ),
    "apiVersion: v3.0.2\nkind: DataContract\nid: x\n": (
        "product.yaml:2: kind: is an Open Data Contract Standard document (ODCS): a contract, and no product"
    ),
    "schema: https://opendataproducts.org/v4.0/schema/odps.yaml\nversion: 4.0\nproduct: {en: {name: x}}\n": (
        "product.yaml:1: schema: is an Open Data Product Specification document (ODPS of ODPI), which is not read"
    ),
    "version: 4.0\nproduct:\n  en: {name: x}\n": (
        "product.yaml:2: product: is an Open Data Product Specification document (ODPS of ODPI), "
        "which is not read"
    ),
    "odps_project: x\nodps_endpoint: y\n": (
        "product.yaml:1: odps_project: is a document of Alibaba's MaxCompute (ODPS), which is not read"
    ),
    "dataContractSpecification: 1.1.0\n": (
        "product.yaml:1: dataContractSpecification: is a Data Contract Specification document: "
        "a contract, and no product"
    ),
}


@pytest.mark.parametrize("text", DIALECTS)
def test_other_dialects_are_refused_by_name(text, folder):
    fix = "write the product in the native form (api_version: dp_dagster/v1; `dp schema` describes it)"
    assert folder.problems(text) == [f"{DIALECTS[text]}; {fix}"]


def test_all_problems_come_in_one_run(folder):
    text = """\
product_id: Shops
version: 1.10
nmae: x
refresh_rate: monthly
access: [{}]
input_ports:
  - {name: a, type: FILE, path: x.csv}
  - {name: a, type: FILES, pth: x.csv, path: x.csv}
  - {name: b, type: FILES, path: ../x.csv}
transforms:
  - {name: t, type: SQL, path: missing.sql}
datasets:
  - {name: d, from: t, contract: "contracts/sales.py:Sales", key: [shp], sort_by: [amont]}
  - {name: e, from: t, contract: "contracts/missing.py:Sales", quarantine: {max_invalid: 5}}
output_ports:
  - {name: p, type: SQL, dataset: f}
  - {name: q, type: SQL}
  - {name: r, type: SQL, dataset: d, formt: csv}
version: 2.0.0
name: ${UNSET_NAME}
"""
    places = [problem.split(": ")[:2] for problem in folder.problems(text)]
    assert places == [
        ["product.yaml:1", "product_id"],
        ["product.yaml:2", "version"],
        ["product.yaml:3", "nmae"],
        ["product.yaml:4", "refresh_rate"],
        ["product.yaml:5", "access[0]"],
        ["product.yaml:7", "input_ports[0].type"],
        ["product.yaml:8", "input_ports[1].name"],
        ["product.yaml:8", "input_ports[1].pth"],
        ["product.yaml:9", "input_ports[2].path"],
        ["product.yaml:11", "transforms[0].path"],
        ["product.yaml:13", "datasets[0].key[0]"],
        ["product.yaml:13", "datasets[0].sort_by[0]"],
        ["product.yaml:14", "datasets[1].quarantine.max_invalid"],
        ["product.yaml:16", "output_ports[0].dataset"],
        ["product.yaml:17", "output_ports[1].dataset"],
        ["product.yaml:18", "output_ports[2].formt"],
        ["product.yaml:19", "version"],
        ["product.yaml:20", "name"],
    ]


def test_messages_name_files_from_the_working_directory(folder, head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (problem,) = folder.problems(head + "nmae: x\n")
    assert problem.startswith("shops/product.yaml:3: nmae: ")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (problem,) = folder.problems(head + "nmae: x\n")
    assert problem.startswith(f"{folder.root}/product.yaml:3: nmae: ")
