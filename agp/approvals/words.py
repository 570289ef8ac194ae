"""The words of an approval's id: short, distinct when spoken, typed to say yes.

A word is typed instead of Enter so that a key pressed for something else grants nothing.
"""

from __future__ import annotations

from typing import Final

from agp.contracts.base import ApprovalId, Digest

WORDS: Final = tuple(
    """
    acorn amber anchor apple april arrow aspen atlas autumn badger bamboo banjo barley basil
    beacon beaver birch bison bobcat bonfire bridge bronze bucket butter cabin cactus camel candle
    canyon carbon castle cedar cello cherry chisel cinder citrus clover cobalt comet copper coral
    cotton cougar coyote cricket crystal cypress daisy dapple delta denim desert dolphin domino
    dragon drizzle eagle ember emerald falcon feather fennel ferret fiddle flint forest fossil
    fountain galaxy garden garlic garnet gecko geyser ginger glacier goblet granite grape gravel
    guitar hammer harbor hazel heron hickory honey horizon hornet iceberg indigo island ivory
    jaguar jasmine jersey jigsaw juniper kayak kernel kettle kitten koala ladder lagoon lantern
    lapis laurel lemon lichen lilac linen lizard lobster lotus lynx magnet mango maple marble
    marina meadow melon mercury mimosa mirror monsoon mosaic mulberry mustard nectar nickel nutmeg
    oasis obsidian ocean olive onyx opal orange orchid osprey otter oyster paddle panda papaya
    parrot pebble pelican pepper petal pewter pigeon pine planet plum pollen poplar poppy prairie
    prism puffin pumpkin python quartz quiver rabbit radish raven reef ribbon river robin rocket
    saddle saffron salmon sandal sapphire satin scarab sequoia shadow shovel sierra silver sparrow
    spruce squash stone summit sunset swallow tangle teapot temple thistle thunder tiger timber
    topaz trellis tulip tundra turtle umber valley vanilla velvet violet walnut walrus whistle
    willow window winter wombat yarrow zephyr zinnia
    """.split()  # noqa: SIM905 - a list of two hundred strings would hide the words
)


def approval_id(binding: Digest, *, draw: int) -> ApprovalId:
    """Name an approval: a drawn word and the first eight digits of what it binds."""
    return ApprovalId(f"{WORDS[draw % len(WORDS)]}-{binding[:8]}")


def word_of(approval: ApprovalId) -> str:
    """Give the word that a person types to allow."""
    return approval.partition("-")[0]
