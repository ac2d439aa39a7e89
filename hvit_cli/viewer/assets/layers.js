// The deep-zoom picture and what lies on it: slide, grey stain, map, unseen tissue, borders.

/* global OpenSeadragon */

const SLIDE = 0, GREY = 1, MAP = 2, UNSEEN = 3, REGIONS = 4;
const CLEAR = "clear";

export class Layers {
  constructor(element, scene) {
    this.scene = scene;
    this.opacity = scene.opacity;
    this.heat = true;
    this.paths = new Map();
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.viewer = OpenSeadragon({
      element,
      // Tiles are laid pixel on pixel, and no graphics card is needed.
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "BOTTOM_RIGHT",
      navigatorSizeRatio: 0.18,
      animationTime: still ? 0 : 0.5,
      maxZoomPixelRatio: 8,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.4,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      tileSources: this.#source("slide", "jpg"),
    });
    // Keys are the page's own: keys.js lists them all.
    this.viewer.innerTracker.keyHandler = null;
    this.viewer.innerTracker.keyDownHandler = null;
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute(
      "aria-label", `Slide ${scene.slide} in deep zoom. Arrow keys move, plus and minus zoom, question mark lists all keys.`);
    this.ready = new Promise((resolve, reject) => {
      this.viewer.addOnceHandler("open", resolve);
      this.viewer.addOnceHandler("open-failed", (event) => reject(new Error(event.message)));
    }).then(() => this.#fill());
  }

  #source(path, suffix) {
    const { sizeLevel0: [width, height], tilePx, lastZoom } = this.scene;
    return {
      width, height, tileSize: tilePx, tileOverlap: 0, minLevel: 0, maxLevel: lastZoom,
      getTileUrl: (zoom, column, row) => `${path}/${zoom}/${column}_${row}.${suffix}`,
    };
  }

  async #fill() {
    // Every slot is taken from the start, so that its number never changes.
    for (const slot of [GREY, MAP, UNSEEN, REGIONS]) await this.#put(slot, CLEAR, 0, false);
    if (this.scene.hasUnseen) await this.#put(UNSEEN, "marks/unseen", 1);
  }

  #put(slot, path, opacity, replace = true) {
    return new Promise((resolve, reject) => {
      this.viewer.addTiledImage({
        tileSource: this.#source(path, "png"), index: slot, replace, opacity,
        // Cells have hard borders: a coarse tile drawn large first would show soft ones.
        immediateRender: true,
        success: resolve, error: (event) => reject(new Error(event.message)),
      });
    });
  }

  get slide() { return this.viewer.world.getItemAt(SLIDE); }

  async showMap(layer, scale, tissueOnly, grey) {
    const which = tissueOnly ? "tissue" : "all";
    await Promise.all([
      this.#change(GREY, grey ? `grey/${layer.key}/${which}` : CLEAR),
      this.#change(MAP, `map/${layer.key}/${scale}/${which}`),
    ]);
    this.#applyOpacity();
  }

  async #change(slot, path) {
    if (this.paths.get(slot) === path) return;
    this.paths.set(slot, path);
    await this.#put(slot, path, path === CLEAR ? 0 : this.#opacityOf(slot));
  }

  setOpacity(opacity) { this.opacity = opacity; this.#applyOpacity(); }

  setHeat(on) { this.heat = on; this.#applyOpacity(); }

  #applyOpacity() {
    for (const [slot, path] of this.paths)
      this.viewer.world.getItemAt(slot).setOpacity(path === CLEAR ? 0 : this.#opacityOf(slot));
  }

  // Pink and violet shift every hue away from the colour bar, so the stain fades to grey below the
  // colours, entirely from opacity 0.5 on, as in the pictures of hvit heatmap.
  #opacityOf(slot) {
    if (!this.heat) return 0;
    return slot === MAP ? this.opacity : Math.min(1, 2 * this.opacity);
  }

  async showRegions(on) {
    if (on && !this.regionsPut) { this.regionsPut = true; await this.#put(REGIONS, "marks/regions", 1); }
    this.viewer.world.getItemAt(REGIONS).setOpacity(on ? 1 : 0);
  }

  level0At(clientX, clientY) {
    const box = this.viewer.container.getBoundingClientRect();
    return this.slide.viewerElementToImageCoordinates(
      new OpenSeadragon.Point(clientX - box.left, clientY - box.top));
  }

  get level0AtCentre() {
    return this.slide.viewportToImageCoordinates(this.viewer.viewport.getCenter(true));
  }

  get level0PerScreenPx() {
    return 1 / this.slide.viewportToImageZoom(this.viewer.viewport.getZoom(true));
  }

  pan(right, down) {
    const { viewport } = this.viewer;
    const size = viewport.getBounds().getSize();
    viewport.panBy(new OpenSeadragon.Point(right * size.x, down * size.y)).applyConstraints();
  }

  zoom(by) { this.viewer.viewport.zoomBy(by).applyConstraints(); }

  home() { this.viewer.viewport.goHome(); }

  goTo([left, top, right, bottom]) {
    const side = 3 * Math.max(right - left, bottom - top);
    const box = new OpenSeadragon.Rect(
      (left + right - side) / 2, (top + bottom - side) / 2, side, side);
    this.viewer.viewport.fitBounds(this.slide.imageToViewportRectangle(box));
  }

  frame(box) {
    if (!box) { if (this.mark) this.mark.hidden = true; return; }
    const [left, top, right, bottom] = box;
    const place = this.slide.imageToViewportRectangle(left, top, right - left, bottom - top);
    if (!this.mark) {
      this.mark = document.createElement("div");
      this.mark.className = "cell-frame";
      this.mark.setAttribute("aria-hidden", "true");
      this.viewer.addOverlay({ element: this.mark, location: place });
    } else {
      this.viewer.updateOverlay(this.mark, place);
    }
    this.mark.hidden = false;
  }
}
