// Reads [{formula, display}, …] from standard input; prints [message or null, …]: what KaTeX in strict mode says of each.
const katex = require("katex");
const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
const complaints = formulas.map(({ formula, display }) => {
  try {
    katex.renderToString(formula, { displayMode: display, throwOnError: true, strict: "error" });
    return null;
  } catch (error) {
    return error.message;
  }
});
console.log(JSON.stringify(complaints));
