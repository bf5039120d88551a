/** How often a timer of 10 ms ticks in a second, over some seconds, and whether the page shows. */
export function ticks(seconds) {
  return new Promise((resolve) => {
    let count = 0;
    const start = performance.now();
    const timer = setInterval(() => {
      count += 1;
      const passed = (performance.now() - start) / 1000;
      if (passed < seconds) return;
      clearInterval(timer);
      resolve({ rate: count / passed, visibility: document.visibilityState });
    }, 10);
  });
}
