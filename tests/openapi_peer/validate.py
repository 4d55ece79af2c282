"""Validates a description of an API, and answers against the schemas that it has for them.

The first argument is the description, the second a list of {"schema": name, "body": value, "what": text}.
"""

import json
import sys

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)
OpenAPIV31SpecValidator(document).validate()

with open(sys.argv[2], encoding="utf-8") as file:
    answers = json.load(file)
wrong = []
for answer in answers:
    schema = {"$ref": f"#/components/schemas/{answer['schema']}", "components": document["components"]}
    for error in OAS31Validator(schema).iter_errors(answer["body"]):
        wrong.append(f"{answer['what']}: {error.json_path}: {error.message}")
if wrong:
    sys.exit("\n".join(wrong))
print(len(answers))
