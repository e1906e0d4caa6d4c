"""Putting things that need each other in order, or naming the circle that they form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def ordered(needs: Mapping[str, Iterable[str]]) -> tuple[list[str], list[list[str]]]:
    """Sort names so that each stands after what it needs.

    Args:
        needs: What each name needs; what is no key itself is left out.

    Returns:
        The names in order (equals in the order given; those in a circle included), and the circles found,
        each as ``[a, b, a]``. Every name that is in a circle with others is in at least one of them.
    """
    order: list[str] = []
    circles: list[list[str]] = []
    in_circle: set[str] = set()
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        position: dict[str, int] = {}
        # An iterator for each open name: recursion would limit the length of a chain.
        stack = [(start, iter(tuple(needs[start])))] if start not in done else []
        if stack:
            position[start] = 0
            path.append(start)
        while stack:
            name, rest = stack[-1]
            following = next((need for need in rest if need in needs and need not in done), None)
            if following is None:
                stack.pop()
                path.pop()
                del position[name]
                done.add(name)
                order.append(name)
            elif following in position:
                circle = [*path[position[following] :], following]
                if not set(circle) <= in_circle:
                    circles.append(circle)
                    in_circle.update(circle)
            else:
                position[following] = len(path)
                path.append(following)
                stack.append((following, iter(tuple(needs[following]))))
    return order, circles
