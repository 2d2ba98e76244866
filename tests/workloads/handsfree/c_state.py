"""Objects whose state lies in C."""
import array, csv, hashlib, io, random, struct, zlib
random.seed(3)
packer = zlib.compressobj()
digest = hashlib.sha256()
text = io.StringIO()
numbers = array.array("d", [0.0, 1.0])
view = [0.0]
rows = csv.reader(io.StringIO("\n".join(f"{i},{i * i}" for i in range(100))))
pairs = struct.iter_unpack("<i", bytes(range(200)))
raw = io.BytesIO(b"abcdefghij" * 20)
total = 0
size = 0
for epoch in range(6):
    for i in range(3):
        total += int(next(rows)[1]) + next(pairs)[0] % 7 + raw.read(2)[0]
        digest.update(str(total).encode())
        size += len(packer.compress(str(total).encode()))
        view[0] += random.random()
        text.write(f"{total};")
        # ask(inner): print("ASK", digest.hexdigest(), numbers[0], text.getvalue()[-20:], raw.tell())
    numbers.append(total)
    pass
    view = memoryview(array.array("d", [numbers[0]]))
    # ask(outer): print("ASK", digest.hexdigest(), list(numbers), len(text.getvalue()), total)
    print(epoch, total, size)
