"""An independent implementation of JOSE (jwcrypto) on the other side of the signatures.

    peer.py verify PUBLIC.pem DOCUMENT.json PAYLOAD      ends with 0 if the signature is that key's
    peer.py sign PRIVATE.pem ALGORITHM PVS.json PAYLOAD  prints the document
"""
import json
import sys

from jwcrypto import jwk, jws
from jwcrypto.common import base64url_encode


def read(path):
    with open(path, "rb") as file:
        return file.read()


def verify(public, document, payload):
    document = json.loads(read(document))
    whole = {
        "payload": base64url_encode(read(payload)),
        "protected": document["protected"],
        "signature": document["signature"],
    }
    signature = jws.JWS()
    signature.deserialize(json.dumps(whole))
    try:
        signature.verify(jwk.JWK.from_pem(read(public)))
    except jws.InvalidJWSSignature as why:
        sys.exit(f"not verified: {why}")


def sign(private, algorithm, pvs, payload):
    header = {"alg": algorithm, "pvs": json.loads(read(pvs)), "typ": "PVS"}
    signature = jws.JWS(read(payload))
    signature.add_signature(jwk.JWK.from_pem(read(private)), protected=json.dumps(header))
    document = json.loads(signature.serialize())
    document["#spec"] = "pvs@2"
    print(json.dumps(document))


{"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
