"""Valid files with bytes changed, removed, repeated and put in: what a reader may meet."""

from hypothesis import strategies as st


@st.composite
def mutated(draw, content: bytes, most: int = 4) -> bytes:
  """`content` after one to `most` changes, each at a random place."""
  for _ in range(draw(st.integers(1, most))):
    at = draw(st.integers(0, max(0, len(content) - 1)))
    length = draw(st.sampled_from((1, 2, 4, 16, len(content))))
    part = content[at : at + length]
    change = draw(st.sampled_from(('set', 'set', 'flip', 'cut', 'repeat', 'insert')))
    if change == 'set':
      part = draw(st.sampled_from((b'\0', b'\xff', b'\x7f', b'\x80', b'9'))) * len(part)
    elif change == 'flip':
      part = bytes(byte ^ draw(st.integers(1, 255)) for byte in part[:4]) + part[4:]
    elif change == 'repeat':
      part = part * 2
    elif change == 'insert':
      part = draw(st.binary(min_size=1, max_size=8)) + part
    else:
      part = b''
    content = content[:at] + part + content[at + length :]
  return content


def assert_short(error: Exception) -> None:
  """That the message is one line which a terminal shows whole."""
  text = str(error)
  assert len(text) < 300, text
  assert text.isprintable(), ascii(text)
