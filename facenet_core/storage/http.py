"""Files of web servers: an answer is read as far as it was asked for, however much is sent."""

from __future__ import annotations

from typing import Any

from fsspec.implementations import http


class HTTPFileSystem(http.HTTPFileSystem):
    """fsspec's, for servers that ignore a range, or claim a size and send without end."""

    async def _cat_file(
        self, url: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """Bytes of a file, from `start` up to `end`; both counted from its beginning."""
        if start is None or end is None or end - start <= 0:
            return bytes(await super()._cat_file(url, start, end, **options))
        options = {**self.kwargs, **options}
        options["headers"] = {**options.get("headers", {}), "Range": f"bytes={start}-{end - 1}"}
        session = await self.set_session()
        async with session.get(self.encode_url(url), **options) as answer:
            self._raise_not_found_for_status(answer, url)
            skip = 0 if answer.status == 206 else start  # 200: the whole file comes
            left = end - start
            blocks = []
            async for block in answer.content.iter_any():
                block, skip = block[skip:], max(0, skip - len(block))
                blocks.append(block[:left])
                left -= len(blocks[-1])
                if not left:
                    break
            return b"".join(blocks)
