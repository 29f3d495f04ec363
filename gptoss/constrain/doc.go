// Package constrain holds what a model writes to a structure: a JSON Schema
// ([Schema]) or a grammar ([Grammar]).
//
// Either is compiled to an [Automaton] over bytes that calls rules, so that
// recursion has no bound. A [Matcher] walks it along a text, and says which of
// a [Vocabulary]'s tokens may follow. It allows nothing from which the text
// could not be completed, and no end before it is complete.
//
// Which tokens stay inside of a rule does not depend on who called it, so the
// many that may follow within a string are found once, and for each text only
// those that leave the string are looked at.
package constrain
