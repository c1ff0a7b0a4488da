"""What lies in an Azure container, as somebody sees it who knows nothing of odibi; and puts files there.

`PLACES list CONTAINER` prints `{name: {etag, text}}`; `PLACES put CONTAINER NAME FILE` writes one. `PLACES` is what
`tests/servers` says of itself.
"""
import json
import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "servers"))
import shared_key


def main():
    places, action, container, *rest = sys.argv[1:]
    places = json.loads(places)
    url, who = f"{places['azure']}/{container}", (places["azure_account"], places["azure_key"])
    if action == "put":
        name, file = rest
        body = pathlib.Path(file).read_bytes()
        shared_key.ask("PUT", f"{url}/{urllib.parse.quote(name)}", *who, body, {"x-ms-blob-type": "BlockBlob"})
        return
    _, listed = shared_key.ask("GET", f"{url}?restype=container&comp=list", *who)
    tree = xml.etree.ElementTree.fromstring(listed)
    if tree.findtext("NextMarker"):
        sys.exit("the list goes on")
    found = {}
    for blob in tree.iter("Blob"):
        name = blob.findtext("Name")
        headers, body = shared_key.ask("GET", f"{url}/{urllib.parse.quote(name)}", *who)
        found[name] = {"etag": headers["ETag"], "text": body.decode("utf-8", "replace")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
