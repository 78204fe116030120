"""What a person reads, in Chinese and English, side by side where it is used."""

from dataclasses import dataclass
from typing import Literal

Lang = Literal["zh", "en"]


@dataclass(frozen=True)
class Text:
    """One sentence in both languages. `{name}` stands for a named value, the same names in both."""

    zh: str
    en: str

    def say(self, lang: Lang, /, **values: object) -> str:
        """Return the sentence in `lang` with its values filled in; a value may be a Text itself."""
        sentence = self.zh if lang == "zh" else self.en
        said = {name: value.say(lang) if isinstance(value, Text) else value for name, value in values.items()}
        return sentence.format(**said) if said else sentence
