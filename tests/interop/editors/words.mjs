// What people write and paste: with emoji, other scripts, right to left, combining marks.
export const WORDS = ['a', 'n', 'the ', 'zażółć ', 'δ', '漢字', '😀', '👩‍👩‍👧 ', '🏳️‍🌈', 'e\u0301', 'שלום ', 'مرحبا ', '\u202eabc\u202c', '"quoted" ', '{}', '\t', 'x'.repeat(120)]

// Steps of one composed word, each shown in place of the one before: Japanese, Korean, a dead key, an emoji picker.
export const COMPOSITIONS = [['k', 'か', 'かn', 'かんj', 'かんじ', '漢字'], ['ㅎ', '하', '한', '한ㄱ', '한그', '한글'], ['´', 'é'], [':', ':s', '😀']]

// Whole characters: where a caret can stand in `text`, nearest to `at` from below.
export const caret = (text, at) => {
  const unit = text.charCodeAt(at)
  return at > 0 && unit >= 0xdc00 && unit <= 0xdfff ? at - 1 : at
}

// The same in a ProseMirror document.
export const caretIn = (doc, at) => {
  const next = doc.resolve(at).nodeAfter?.text?.charCodeAt(0)
  return next >= 0xdc00 && next <= 0xdfff ? at - 1 : at
}
